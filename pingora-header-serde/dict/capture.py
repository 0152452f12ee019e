#!/usr/bin/env python3
"""Writes the response heads of real servers, one after the other, to dict/captured.txt.

Starts nginx, Python's http.server, Node.js and HAProxy on free ports of 127.0.0.1, asks each for a few
resources and keeps the heads as they came. Names of this machine do not get in: every server is asked as
Host www.example.com. Run it from the folder of the crate: python3 dict/capture.py
"""
import os, socket, subprocess, sys, tempfile, time

FILES = {"index.html": 4213, "app.js": 91423, "style.css": 8341, "logo.png": 15023, "photo.jpg": 210331,
         "font.woff2": 28444, "data.json": 1733, "feed.xml": 9120, "icon.svg": 1203, "clip.mp4": 400000,
         "doc.pdf": 120034, "robots.txt": 68, "favicon.ico": 1150, "archive.zip": 52133, "module.wasm": 70221}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def head(port, path, method="GET", fields=()):
    lines = [f"{method} {path} HTTP/1.1", "Host: www.example.com", *fields, "", ""]
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        s.sendall("\r\n".join(lines).encode())
        got = b""
        while b"\r\n\r\n" not in got:
            more = s.recv(65536)
            if not more:
                break
            got += more
    return got.split(b"\r\n\r\n")[0] + b"\r\n\r\n"


def wait(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens on {port}")


NGINX = """
daemon off; pid nginx.pid; error_log stderr crit; events {{}}
http {{
  types {{ text/html html; application/javascript js; text/css css; image/png png; image/jpeg jpg;
    font/woff2 woff2; application/json json; application/xml xml; image/svg+xml svg; video/mp4 mp4;
    application/pdf pdf; text/plain txt; image/x-icon ico; application/zip zip; application/wasm wasm; }}
  default_type application/octet-stream; access_log off; charset {charset};
  gzip {gzip}; gzip_types *; gzip_vary on; gzip_min_length 100; {tokens}
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
  server {{
    listen 127.0.0.1:{port}; root {root};
    location / {{ {extra} }}
    location /moved {{ return 301 https://www.example.com/new/; }}
    location /found {{ return 302 /login?next=%2Faccount; }}
    location /see {{ return 307 https://www.example.com$request_uri; }}
    location /perm {{ return 308 https://www.example.com/; }}
    location /secret {{ return 401; }}
    location /no {{ return 403; }}
    location /slow {{ return 503; }}
    location /empty {{ return 204; }}
    location /broken {{ return 502; }}
  }}
}}
"""
EXTRAS = [
    "",
    "expires 1h; etag off;",
    "expires max; add_header Access-Control-Allow-Origin *;",
    "expires 30d; add_header Cache-Control public; add_header X-Content-Type-Options nosniff;",
    "add_header Strict-Transport-Security 'max-age=31536000; includeSubDomains' always;"
    "add_header X-Frame-Options SAMEORIGIN always; add_header Referrer-Policy strict-origin-when-cross-origin always;"
    "add_header X-XSS-Protection '1; mode=block' always; add_header Permissions-Policy 'geolocation=(), camera=(), microphone=()' always;",
    "add_header Content-Security-Policy \"default-src 'self'; img-src 'self' data: https:; script-src 'self' 'unsafe-inline'\";"
    "add_header Cross-Origin-Opener-Policy same-origin; add_header Cross-Origin-Resource-Policy cross-origin;",
]
NODE = """
const http = require('http');
http.createServer((q, r) => {
  r.setHeader('X-Powered-By', 'Express');
  if (q.url === '/json') { r.setHeader('Content-Type', 'application/json; charset=utf-8'); r.setHeader('ETag', 'W/"1f-8a9Kq0Yp3fI"');
    r.setHeader('Vary', 'Origin, Accept-Encoding'); r.setHeader('Access-Control-Allow-Credentials', 'true'); r.end('{"a":1}'); }
  else if (q.url === '/cookie') { r.setHeader('Set-Cookie', ['session=eyJhbGciOiJIUzI1NiJ9; Path=/; HttpOnly; Secure; SameSite=Lax', 'theme=dark; Max-Age=31536000; Path=/']);
    r.setHeader('Cache-Control', 'no-cache, no-store, must-revalidate'); r.setHeader('Pragma', 'no-cache'); r.setHeader('Expires', '0'); r.end('ok'); }
  else if (q.url === '/cors') { r.writeHead(204, { 'Access-Control-Allow-Origin': 'https://www.example.com', 'Access-Control-Allow-Methods': 'GET,HEAD,PUT,PATCH,POST,DELETE',
    'Access-Control-Allow-Headers': 'content-type,authorization', 'Access-Control-Max-Age': '86400' }); r.end(); }
  else if (q.url === '/stream') { r.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache', 'X-Accel-Buffering': 'no' }); r.end('data: 1'); }
  else { r.statusCode = 404; r.setHeader('Content-Type', 'text/html; charset=utf-8'); r.setHeader('Content-Security-Policy', "default-src 'none'"); r.setHeader('X-Content-Type-Options', 'nosniff'); r.end('no'); }
}).listen(+process.argv[1], '127.0.0.1');
"""
HAPROXY = """
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
frontend f
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string ok hdr X-Served-By cache-fra-1 if {{ path /ok }}
  http-request redirect scheme https code 301 if {{ path /tls }}
  http-request deny if {{ path /deny }}
  default_backend b
backend b
  http-response set-header X-Cache MISS
  server s 127.0.0.1:{origin}
"""


def main():
    heads = []
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        for name, size in FILES.items():
            with open(os.path.join(root, name), "wb") as f:
                f.write(os.urandom(size // 2) + b"a" * (size - size // 2))
            os.utime(os.path.join(root, name), (1764000000 + size, 1764000000 + size * 7))
        children = []

        def start(command, port):
            children.append(subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            wait(port)

        try:
            for i, extra in enumerate(EXTRAS):
                port = free_port()
                conf = NGINX.format(port=port, root=root, extra=extra, gzip=["off", "on"][i % 2],
                                    charset=["off", "utf-8"][i // 2 % 2], tokens=["", "server_tokens off;"][i // 3 % 2])
                with open(os.path.join(root, f"nginx{i}.conf"), "w") as f:
                    f.write(conf)
                prefix = os.path.join(root, f"n{i}")
                os.mkdir(prefix)
                start(["nginx", "-p", prefix, "-c", os.path.join(root, f"nginx{i}.conf")], port)
                for name in FILES:
                    heads.append(head(port, "/" + name, fields=["Accept-Encoding: gzip"]))
                heads.append(head(port, "/photo.jpg", fields=["Range: bytes=0-99"]))
                heads.append(head(port, "/style.css", fields=["If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"]))
                for path in ["/moved", "/found", "/see", "/perm", "/secret", "/no", "/slow", "/empty", "/broken", "/missing"]:
                    heads.append(head(port, path))
            origin = port
            port = free_port()
            start([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)], port)
            for path in ["/index.html", "/app.js", "/", "/missing", "/logo.png", "/data.json"]:
                heads.append(head(port, path))
            port = free_port()
            start(["node", "-e", NODE, str(port)], port)
            for path in ["/json", "/cookie", "/cors", "/stream", "/missing"]:
                heads.append(head(port, path))
            port = free_port()
            with open(os.path.join(root, "haproxy.conf"), "w") as f:
                f.write(HAPROXY.format(port=port, origin=origin))
            start(["haproxy", "-f", os.path.join(root, "haproxy.conf")], port)
            for path in ["/ok", "/tls", "/deny", "/index.html", "/app.js", "/missing"]:
                heads.append(head(port, path))
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait()
    with open("dict/captured.txt", "wb") as f:
        f.write(b"".join(heads))
    print(len(heads), "heads")


main()
