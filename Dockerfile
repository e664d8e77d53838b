# The relay in a container: docker build -t uis-relay . && docker run -v relay:/data -p 127.0.0.1:8000:8000 uis-relay
FROM python:3.11-slim-trixie

# SQLite 3.51.3 mends a fault by which two writers can spoil a file. The relay keeps its own processes apart by a lock
# file; this is for other programs on the same database. trixie has 3.46, forky's package (3.53) needs no newer libc:
# this one package is taken from there, and security updates of it come with a new build.
RUN printf 'Types: deb\nURIs: http://deb.debian.org/debian\nSuites: forky\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' > /etc/apt/sources.list.d/forky.sources \
 && printf 'Package: *\nPin: release n=forky\nPin-Priority: -1\n\nPackage: libsqlite3-0\nPin: release n=forky\nPin-Priority: 990\n' > /etc/apt/preferences.d/forky \
 && apt-get update \
 && apt-get install --yes --no-install-recommends libsqlite3-0 \
 && rm -rf /var/lib/apt/lists/* \
 && python -c 'import sqlite3; assert sqlite3.sqlite_version_info >= (3, 51, 3), sqlite3.sqlite_version'

# 1000 is what `dokku storage:ensure-directory --chown heroku` gives a folder to
RUN useradd --uid 1000 --create-home relay && install --directory --owner relay --group relay /data

WORKDIR /app
ARG EXTRAS=postgres
COPY requirements.txt ./
COPY extras extras/
RUN pip install --no-cache-dir -r requirements.txt \
 && for extra in $EXTRAS; do pip install --no-cache-dir -r extras/$extra.txt || exit 1; done
COPY wsgi.py Procfile ./
COPY config config/
COPY relay relay/
RUN python -m compileall -q relay config wsgi.py

# No VOLUME: an anonymous one would be lost with the container, and the relay could not see it and warn.
ENV DATABASE_URL=sqlite:////data/relay.db RELAY_LISTEN=0.0.0.0
USER relay
EXPOSE 8000
# give it 30 s to stop: docker stop -t 30
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f'http://127.0.0.1:{os.environ.get(\"PORT\") or 8000}/readyz', timeout=4)"]
CMD ["gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:app"]
