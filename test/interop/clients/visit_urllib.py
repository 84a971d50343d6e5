"""Visits a URL with Python's urllib, strictly: visit_urllib.py URL AUTHORIZATION [FILE]. Prints the status and the answer."""
import ssl
import sys
import urllib.error
import urllib.request

url, authorization, *file = sys.argv[1:]
body = open(file[0], 'rb').read() if file else None
context = ssl.create_default_context()
context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default since Python 3.13
request = urllib.request.Request(url, data=body, headers={'Authorization': authorization})
opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
try:
    answer = opener.open(request)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
print(answer.read().decode())
