#!/bin/sh
# Makes certificates for the specs of TLS in a folder:  sh certs.sh DIR
#   ca.pem        a CA of our own             other.pem   another one
#   good.*        localhost and 127.0.0.1     expired.*   the same, out of date
#   wrong.*       another host's name         self.*      signed by itself
#   client.*      a client's                  stranger.*  a client's, by the other CA
# Each name has a .pem and a .key. They are elliptic: fast to make.
set -e
cd "$1"
exec 2>openssl.log

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

authority() {
  key "$1"
  openssl req -x509 -new -key "$1.key" -out "$1.pem" -days 3650 \
    -subj "/CN=oaichat spec $1"
}

signed() { # name, authority, extensions, more options of openssl ca
  name=$1
  authority=$2
  printf '%s\n' "$3" >"$name.ext"
  shift 3
  key "$name"
  openssl req -new -key "$name.key" -out "$name.csr" -subj "/CN=$name.invalid"
  openssl ca -config ca.cnf -batch -notext -cert "$authority.pem" \
    -keyfile "$authority.key" -in "$name.csr" -out "$name.pem" \
    -extfile "$name.ext" "$@"
}

mkdir -p issued
: >index.txt
cat >ca.cnf <<EOF
[ca]
default_ca = here
[here]
new_certs_dir = issued
database = index.txt
rand_serial = yes
default_md = sha256
default_days = 3650
unique_subject = no
policy = any
[any]
commonName = supplied
EOF

authority ca
authority other
local=subjectAltName=DNS:localhost,IP:127.0.0.1
signed good ca "$local"
signed expired ca "$local" -startdate 20200101000000Z -enddate 20200201000000Z
signed wrong ca subjectAltName=DNS:elsewhere.invalid
signed client ca extendedKeyUsage=clientAuth
signed stranger other extendedKeyUsage=clientAuth
key self
openssl req -x509 -new -key self.key -out self.pem -days 3650 \
  -subj /CN=localhost -addext "$local"
