"""A user's browser: opens a page, and fills in and sends each form until a page has none, or until it has refused.

browser.py URL CA_FILE USER [abort]

Prints the text of the last page.
"""

import html.parser
import http.cookiejar
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request

MOST_PAGES = 20


class Form(html.parser.HTMLParser):
    """The first form of a page and its fields, and the page's text."""

    def __init__(self):
        super().__init__()
        self.action, self.fields, self.is_inside, self.text = None, {}, False, []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "form" and self.action is None:
            self.action, self.is_inside = attributes.get("action", ""), True
        if tag == "input" and self.is_inside and attributes.get("name"):
            self.fields[attributes["name"]] = attributes.get("value", "")

    def handle_endtag(self, tag):
        if tag == "form":
            self.is_inside = False

    def handle_data(self, data):
        self.text.append(data.strip())


def main(url, ca, user, abort=""):
    context = ssl.create_default_context(cafile=ca)
    cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    browser = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), cookies, urllib.request.ProxyHandler({}))
    fields = None
    for _ in range(MOST_PAGES):
        sent = fields and urllib.parse.urlencode(fields).encode()
        try:
            answer = browser.open(url, sent, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        page = Form()
        page.feed(answer.read().decode())
        if page.action is None or abort == "done":
            print(" ".join(part for part in page.text if part))
            return
        url, fields = urllib.parse.urljoin(answer.geturl(), page.action), page.fields
        if "login" in fields:
            fields |= {"login": user, "password": "any"}
        if abort and "confirm" in fields:
            fields = {name: value for name, value in fields.items() if name != "confirm"} | {"abort": "yes"}
            abort = "done"
    sys.exit(f"{url} shows more than {MOST_PAGES} forms")


main(*sys.argv[1:])
