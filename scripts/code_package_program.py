"""The program in each task's command that fetches the code package from S3 with nothing but the standard library.

`package_program.py` makes it small and puts it into the shim, where it is one argument of `python -c`. It has to stay
under 1.5 KB there, so it knows the credentials that nearly all tasks have (keys, web identity, a container's, an
instance's) and leaves the rest, by an exception, to Metaflow's own way.
"""

# ruff: noqa
# fmt: off
import hashlib, hmac, os, random, re, socket, time
from urllib.parse import *
from urllib.request import *

aws = lambda name: os.getenv("AWS_" + name)
# What answers on the machine itself is asked by no proxy, which would see its tokens.
near = lambda *given, **more: build_opener(ProxyHandler({})).open(Request(*given, **more)).read().decode()
socket.setdefaulttimeout(9)
region = aws("DEFAULT_REGION") or "us-east-1"
attempt = 0
while 1:
    try:
        server = aws("ENDPOINT_URL")
        key = aws("ACCESS_KEY_ID")
        secret = aws("SECRET_ACCESS_KEY")
        token = aws("SESSION_TOKEN")
        if not key:
            text = aws("WEB_IDENTITY_TOKEN_FILE")
            if text:
                text = (
                    urlopen(
                        (server or "https://sts.%s.amazonaws.com" % region)
                        + "/?Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=envlock&RoleArn="
                        + aws("ROLE_ARN")
                        + "&WebIdentityToken="
                        + open(text).read()
                    )
                    .read()
                    .decode()
                )
            else:
                url = aws("CONTAINER_CREDENTIALS_RELATIVE_URI")
                headers = {}
                if url:
                    url = "http://169.254.170.2" + url
                else:
                    attempt += 9  # where there is no instance's metadata, nobody waits for it twice
                    url = "http://169.254.169.254/latest/"
                    key = "X-aws-ec2-metadata-token"
                    headers = {key: near(url + "api/token", None, {key + "-ttl-seconds": "99"}, method="PUT")}
                    attempt -= 9
                    url += "meta-data/iam/security-credentials/"
                    url += near(url, None, headers)
                text = near(url, None, headers)
            # STS answers in XML, the others in JSON.
            key, secret, token = (
                re.search(name + '[" :>]+([^"<]+)', text)[1] for name in ("AccessKeyId", "SecretAccessKey", '[n"]Token')
            )
        server = os.getenv("METAFLOW_S3_ENDPOINT_URL") or server or "https://s3.%s.amazonaws.com" % region
        text = quote(os.getenv("METAFLOW_CODE_URL")[4:])
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = now[:8] + "/" + region + "/s3/aws4_request"
        kind = "AWS4-HMAC-SHA256"
        query = (
            "X-Amz-Algorithm="
            + kind
            + "&X-Amz-Credential="
            + quote(key + "/" + scope, "")
            + "&X-Amz-Date="
            + now
            + "&X-Amz-Expires=99"
        )
        if token:
            query += "&X-Amz-Security-Token=" + quote(token, "")
        query += "&X-Amz-SignedHeaders=host"
        digest = ("AWS4" + secret).encode()
        for each in (
            *scope.split("/"),
            "\n".join(
                (
                    kind,
                    now,
                    scope,
                    hashlib.sha256(
                        "\n".join(
                            ("GET", text, query, "host:" + server.split("/")[2], "", "host", "UNSIGNED-PAYLOAD")
                        ).encode()
                    ).hexdigest(),
                )
            ),
        ):
            digest = hmac.digest(digest, each.encode(), "sha256")
        urlretrieve(server + text + "?" + query + "&X-Amz-Signature=" + digest.hex(), "job.tar")
        break
    except Exception as each:
        attempt += 1
        code = getattr(each, "code", 500)
        text = code < 500 and each.headers["x-amz-bucket-region"]
        if text and text != region:
            region = text
        elif attempt > 6 or code < 500 or "CERT" in str(each):
            exit(str(code))  # and not what it says: that may have a URL with a token
        else:
            time.sleep(random.random() * 2**attempt)
