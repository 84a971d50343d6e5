"""Visits a URL with requests: visit_requests.py URL AUTHORIZATION [FILE]. Prints the status and the answer."""
import sys

import requests

url, authorization, *file = sys.argv[1:]
headers = {'Authorization': authorization}
with requests.Session() as session:
    if file:
        with open(file[0], 'rb') as body:
            answer = session.post(url, headers=headers, data=body)
    else:
        session.get(url, headers=headers)
        answer = session.get(url, headers=headers)  # the same connection once more
print(answer.status_code)
print(answer.text)
