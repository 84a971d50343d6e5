"""Visits a URL with httpx: visit_httpx.py URL AUTHORIZATION [FILE]. Prints the status and the answer."""
import sys

import httpx

url, authorization, *file = sys.argv[1:]
headers = {'Authorization': authorization}
with httpx.Client() as client:
    if file:
        with open(file[0], 'rb') as body:
            answer = client.post(url, headers=headers, content=body)
    else:
        client.get(url, headers=headers)
        answer = client.get(url, headers=headers)  # the same connection once more
print(answer.status_code)
print(answer.text)
