rockspec_format = "3.0"
package = "oaichat"
version = "scm-1"
source = {
  url = "git+https://github.com/oaichat/oaichat.git",
  branch = "main",
}
description = {
  summary = "An LLM chat client for programs that embed Lua",
  detailed = [[
A small C module over libcurl with a Lua conversation on top: streams any
OpenAI-compatible API, never blocks its host, never loses a conversation, and
never takes a broken stream for a success.]],
  homepage = "https://github.com/oaichat/oaichat",
  issues_url = "https://github.com/oaichat/oaichat/issues",
  maintainer = "oaichat contributors",
  license = "MIT",
  labels = { "openai", "llm", "chat", "http", "async", "neovim" },
}
supported_platforms = { "unix" }
dependencies = {
  "lua >= 5.1, < 5.6",
  "lua-cjson >= 2.1.0",
}
-- By library, not by header: LuaRocks does not look for headers in Debian's
-- multiarch directories, the compiler does.
external_dependencies = {
  CURL = { library = "curl" },
}
build = {
  type = "builtin",
  modules = {
    ["oaichat.attempts"] = "lua/oaichat/attempts.lua",
    ["oaichat.errors"] = "lua/oaichat/errors.lua",
    ["oaichat"] = "lua/oaichat/init.lua",
    ["oaichat.json"] = "lua/oaichat/json.lua",
    ["oaichat.loop.copas"] = "lua/oaichat/loop/copas.lua",
    ["oaichat.loop.cqueues"] = "lua/oaichat/loop/cqueues.lua",
    ["oaichat.loop.luv"] = "lua/oaichat/loop/luv.lua",
    ["oaichat.loop.ngx"] = "lua/oaichat/loop/ngx.lua",
    ["oaichat.loop.scheduler"] = "lua/oaichat/loop/scheduler.lua",
    ["oaichat.loop.task"] = "lua/oaichat/loop/task.lua",
    ["oaichat.loop.tick"] = "lua/oaichat/loop/tick.lua",
    ["oaichat.message"] = "lua/oaichat/message.lua",
    ["oaichat.meta.conn"] = "lua/oaichat/meta/conn.lua",
    ["oaichat.meta.core"] = "lua/oaichat/meta/core.lua",
    ["oaichat.options"] = "lua/oaichat/options.lua",
    ["oaichat.reply"] = "lua/oaichat/reply.lua",
    ["oaichat.session"] = "lua/oaichat/session.lua",
    ["oaichat.stream"] = "lua/oaichat/stream.lua",
    ["oaichat.testing"] = "lua/oaichat/testing.lua",
    ["oaichat.testing.http"] = "lua/oaichat/testing/http.lua",
    ["oaichat.wait"] = "lua/oaichat/wait.lua",
    ["oaichat.wire.chat"] = "lua/oaichat/wire/chat.lua",
    ["oaichat.core"] = {
      sources = {
        "src/apierror.c",
        "src/buf.c",
        "src/conn.c",
        "src/conn_child.c",
        "src/conn_curl.c",
        "src/core.c",
        "src/core_conn.c",
        "src/core_engine.c",
        "src/core_exchange.c",
        "src/core_json.c",
        "src/core_json_decode.c",
        "src/core_json_encode.c",
        "src/core_json_number.c",
        "src/core_listen.c",
        "src/core_reply.c",
        "src/core_session.c",
        "src/core_sse.c",
        "src/core_timer.c",
        "src/delta.c",
        "src/digest.c",
        "src/easy.c",
        "src/endpoint.c",
        "src/engine.c",
        "src/exchange.c",
        "src/exchange_again.c",
        "src/exchange_clock.c",
        "src/exchange_curl.c",
        "src/exchange_judge.c",
        "src/failure.c",
        "src/listen.c",
        "src/listen_peer.c",
        "src/listen_port.c",
        "src/pattern.c",
        "src/platform.c",
        "src/pollset_epoll.c",
        "src/pollset_kqueue.c",
        "src/pollset_poll.c",
        "src/scan.c",
        "src/sse.c",
        "src/utf8.c",
        "src/wire_chat.c",
        "src/wire_chat_message.c",
      },
      defines = { "_GNU_SOURCE" },
      libraries = { "curl", "pthread", "dl", "m" },
      incdirs = { "$(CURL_INCDIR)" },
      libdirs = { "$(CURL_LIBDIR)" },
    },
  },
  copy_directories = { "examples" },
}
test = {
  type = "command",
  command = "make test",
}
