#!/bin/sh
# Makes ca.pem, and machine.pem with machine.key, which all machines of a cluster may share, in a folder: Dask asks of a
# machine that its certificate is by this authority, whatever its name. Keep machine.key as you keep the API key.
set -eu
folder=${1:?folder}
mkdir -p "$folder"
cd "$folder"
openssl req -x509 -newkey rsa:3072 -nodes -days 825 -subj "/CN=image-batch-console cluster" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout ca.key -out ca.pem 2>/dev/null
openssl req -newkey rsa:3072 -nodes -subj "/CN=machine" -keyout machine.key -out machine.csr 2>/dev/null
printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\nauthorityKeyIdentifier=keyid\n' >machine.ext
openssl x509 -req -in machine.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile machine.ext \
    -out machine.pem 2>/dev/null
rm -f machine.csr machine.ext ca.srl ca.key # nobody can be let in later without making all anew
chmod 644 ca.pem machine.pem
chmod 600 machine.key
