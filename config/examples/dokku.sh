#!/bin/sh
# On a Dokku server: makes the application `relay`, with the database and relay.toml in a folder that stays.
# Afterwards put relay.toml there, with trusted_proxies = 1.
set -eu
dokku apps:create relay
dokku storage:ensure-directory --chown heroku relay # user 1000, the image's
dokku storage:mount relay /var/lib/dokku/data/storage/relay:/data
dokku config:set --no-restart relay RELAY_CONFIG=/data/relay.toml DATABASE_URL=sqlite:////data/relay.db
dokku config:set --no-restart relay TRADE_TOKEN="$TRADE_TOKEN" ONEC_PASSWORD="$ONEC_PASSWORD"
dokku ports:set relay http:80:8000
