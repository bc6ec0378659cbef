#!/bin/sh
# PostgreSQL as a dependency: sh postgres.sh PORT FOLDER. It refuses root, so to it root has another name.
set -e
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
[ "$(id -u)" != 0 ] || as="unshare -U --map-user=1000 --map-group=1000"
[ -e "$2/PG_VERSION" ] || $as "$bin/initdb" -D "$2" -A trust -U postgres --no-sync -E UTF8
exec $as "$bin/postgres" -D "$2" -p "$1" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=12
