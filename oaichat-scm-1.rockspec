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
    ["oaichat.core"] = {
      sources = {
        "src/apierror.c",
        "src/buf.c",
        "src/delta.c",
        "src/failure.c",
        "src/listen.c",
        "src/listen_port.c",
        "src/scan.c",
        "src/sse.c",
        "src/utf8.c",
      },
      defines = { "_GNU_SOURCE" },
      libraries = { "curl", "pthread", "dl" },
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
