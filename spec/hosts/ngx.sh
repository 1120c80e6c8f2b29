#!/bin/sh
# loop/ngx in a real nginx: 20 requests stream from the hosts' server at once, another
# location answers meanwhile, and a client that goes away cancels its stream.
#   sh spec/hosts/ngx.sh WORK CPATH   (a scratch folder; where the 5.1 core is)
# Debian's package of the module replaces luajit when it is installed, so it is only
# unpacked, below build/.
set -e
work=$1/ngx
cpath=$2
x=$PWD/build/ngx
module=$x/usr/lib/nginx/modules/ngx_http_lua_module.so

if [ ! -e "$module" ]; then
  mkdir -p "$x"
  (
    cd "$x"
    apt-get -q download libnginx-mod-http-lua libnginx-mod-http-ndk \
      libluajit2-5.1-2 lua-resty-core lua-resty-lrucache >apt.log 2>&1 || {
      cat apt.log
      exit 1
    }
    for one in *.deb; do dpkg -x "$one" .; done
  )
fi

mkdir -p "$work"
port=$(lua5.4 -e 'local l = require("oaichat.core").listen {} io.write(l:port())')
# root: its worker would be nobody, who cannot read this folder
user=
if [ "$(id -u)" = 0 ]; then user='user root;'; fi
cat >"$work/nginx.conf" <<EOF
load_module $x/usr/lib/nginx/modules/ndk_http_module.so;
load_module $module;
$user
daemon off;
worker_processes 1;
pid $work/pid;
error_log $work/error.log info;
env HOSTS_URL;
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path $work/b; proxy_temp_path $work/p;
  fastcgi_temp_path $work/f; uwsgi_temp_path $work/u; scgi_temp_path $work/s;
  lua_package_path "${LUA_PATH%;;};$x/usr/share/lua/5.1/?.lua;;";
  lua_package_cpath "$cpath";
  init_worker_by_lua_block { require("oaichat.loop.ngx").attach() }
  server {
    listen 127.0.0.1:$port;
    location = /ping { return 200 "pong"; }
    location = /chat {
      lua_check_client_abort on;
      content_by_lua_block {
        ngx.req.read_body()
        local session = assert(require("oaichat").new { base_url = os.getenv "HOSTS_URL" })
        local stream = session:stream(ngx.req.get_body_data())
        assert(ngx.on_abort(function()
          stream:cancel()
          local _, _, err = stream:result()
          ngx.log(ngx.NOTICE, "gone: ", err and err.kind)
          collectgarbage()
          ngx.exit(499)
        end))
        for text in stream do
          ngx.print(text)
          ngx.flush(true)
        end
        assert(stream:result())
      }
    }
  }
}
EOF
LD_LIBRARY_PATH=$(dirname "$(find "$x/usr/lib" -name 'libluajit-5.1.so.2*' | head -n 1)")
export LD_LIBRARY_PATH
nginx -p "$work" -c "$work/nginx.conf" -e "$work/error.log" &
nginx=$!
unset LD_LIBRARY_PATH
trap 'kill $nginx; wait $nginx || true' EXIT
url=http://127.0.0.1:$port
curl -s --retry 20 --retry-delay 1 --retry-connrefused "$url/ping" >/dev/null

fail() {
  echo "$1"
  tail -n 20 "$work/error.log"
  exit 1
}

clients=
for i in $(seq 20); do
  curl -s -m 30 -d "g$i 100 0.02" "$url/chat" >"$work/$i.txt" &
  clients="$clients $!"
done
slowest=$(for i in $(seq 15); do
  curl -s -m 5 -o "$work/ping" -w '%{time_total}\n' "$url/ping"
  sleep 0.1
done | sort -n | tail -n 1)
wait $clients
for i in $(seq 20); do
  seq -f "g$i.%g" 100 | tr '\n' ' ' | cmp -s - "$work/$i.txt" || fail "answer $i is wrong"
done
echo "nginx: 20 streams of 100 chunks at once; another location answered in $slowest s at most"
awk "BEGIN { exit !($slowest < 0.2) }" || fail 'the worker was blocked'

curl -s -m 0.5 -d 'gone 1000 0.02' "$url/chat" >"$work/gone.txt" || true
n=0
until grep -q 'gone: canceled' "$work/error.log"; do
  n=$((n + 1))
  [ $n -lt 50 ] || fail 'the stream of a client that went away was not canceled'
  sleep 0.1
done
echo 'nginx: a client went away: its stream was canceled'
