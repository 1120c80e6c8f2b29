--- What tokens cost, and what stays unknown.

local json = require "oaichat.json"
local prices = require "oaichat.prices"

local function near(expected, got)
  assert.is_true(type(got) == "number" and math.abs(expected - got) < 1e-12, ("%s, not %s"):format(expected, got))
end

describe("prices", function()
  it("charge input, cached input and output each at its own price", function()
    near(0.15 + 0.60, prices.cost("gpt-4o-mini", { prompt_tokens = 1e6, completion_tokens = 1e6 }))
    near((600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6, prices.cost("gpt-4o", {
      prompt_tokens = 1000, completion_tokens = 100, prompt_tokens_details = { cached_tokens = 400 },
    }))
  end)

  it("take reasoning for a part of the output and do not charge it again", function()
    near((10 * 2 + 500 * 8) / 1e6, prices.cost("o3", {
      prompt_tokens = 10, completion_tokens = 500, completion_tokens_details = { reasoning_tokens = 450 },
    }))
  end)

  it("find a snapshot by its name without the date", function()
    assert.equal(prices.TABLE["gpt-4o"], prices.of "gpt-4o-2024-08-06")
    assert.equal(prices.TABLE["gpt-4o-mini"], prices.of "gpt-4o-mini-2024-07-18")
    assert.equal(prices.TABLE["gpt-4.1-nano"], prices.of "gpt-4.1-nano-2025-04-14")
  end)

  it("prefer the price of the snapshot itself", function()
    assert.equal(5, prices.of("gpt-4o-2024-05-13").input)
    near((1000 * 5 + 100 * 15) / 1e6, prices.cost("gpt-4o-2024-05-13", {
      prompt_tokens = 1000, completion_tokens = 100, prompt_tokens_details = { cached_tokens = 400 },
    }))
  end)

  it("guess nothing of a model they do not know", function()
    for _, model in ipairs {
      "gpt-4o-audio-preview", "gpt-4o-audio-preview-2024-12-17", "gpt-5-pro", "gpt-4o-latest", "gpt-4o-0806", "gpt",
      "openai/gpt-4o", "ft:gpt-4o-mini-2024-07-18:org::id", "llama3", "", "-2024-08-06", "gpt-4o-2024-99-99",
    } do
      assert.is_nil(prices.of(model), model)
      assert.is_nil(prices.cost(model, { prompt_tokens = 1, completion_tokens = 1 }))
    end
    assert.is_nil(prices.of(nil))
  end)

  it("say nil of a usage that nobody knows, whole or in part", function()
    for _, usage in ipairs {
      {}, { prompt_tokens = 1 }, { completion_tokens = 1 }, { total_tokens = 5 },
      { prompt_tokens = json.null, completion_tokens = 1 }, { prompt_tokens = "12", completion_tokens = 1 },
      { prompt_tokens = -1, completion_tokens = 1 }, { prompt_tokens = 0 / 0, completion_tokens = 1 },
    } do
      assert.is_nil(prices.cost("gpt-4o", usage))
    end
    assert.is_nil(prices.cost("gpt-4o", nil))
    assert.is_nil(prices.cost("gpt-4o", json.null))
  end)

  it("say nil where more was cached than sent, and where audio has another price", function()
    assert.is_nil(prices.cost("gpt-4o", {
      prompt_tokens = 10, completion_tokens = 1, prompt_tokens_details = { cached_tokens = 11 },
    }))
    assert.is_nil(prices.cost("gpt-4o", {
      prompt_tokens = 10, completion_tokens = 5, completion_tokens_details = { audio_tokens = 5 },
    }))
  end)

  it("read details that are null, missing or zero", function()
    assert.same({ input = 5, output = 6, tokens = 11, audio = 0 }, prices.read {
      prompt_tokens = 5, completion_tokens = 6, prompt_tokens_details = json.null,
    })
    local counts = prices.read {
      prompt_tokens = 5, completion_tokens = 6, total_tokens = 11, prompt_tokens_details = { cached_tokens = 0 },
      completion_tokens_details = { reasoning_tokens = 3, audio_tokens = 0 },
    }
    assert.same({ 0, 3 }, { counts.cached, counts.reasoning })
  end)

  it("can be replaced", function()
    local mine = { llama3 = { input = 0, output = 0 }, ["gpt-4o"] = { input = 1, cached = 0.1, output = 2 } }
    assert.equal(0, prices.cost("llama3", { prompt_tokens = 10, completion_tokens = 5 }, mine))
    near(3, prices.cost("gpt-4o-2024-08-06", { prompt_tokens = 1e6, completion_tokens = 1e6 }, mine))
    assert.is_nil(prices.of("gpt-4o-mini", mine))
  end)

  it("can be extended, and a model taken out, in a table of one's own", function()
    local mine = prices.extended { llama3 = { input = 0.1, output = 0.2 }, ["gpt-4o-2024-05-13"] = false }
    assert.equal(0.1, prices.of("llama3", mine).input)
    assert.equal(2.5, prices.of("gpt-4o", mine).input)
    assert.equal(2.5, prices.of("gpt-4o-2024-05-13", mine).input)
    assert.equal(5, prices.of("gpt-4o-2024-05-13").input)
    assert.is_nil(prices.of "llama3")
  end)

  it("raise on what is no price", function()
    for _, wrong in ipairs { "x", { a = 1 }, { a = { input = 1 } }, { a = { input = -1, output = 1 } },
      { a = { input = 1, output = 0 / 0 } }, { a = { input = 1, output = 1, cached = "0" } },
      { { input = 1, output = 1 } } } do
      assert.has_error(function() prices.check(wrong) end)
    end
  end)

  it("name their source and its date", function()
    for model, price in pairs(prices.check(prices.TABLE)) do
      assert.truthy(price.source:find "^https://", model)
      assert.truthy(price.date:find "^%d%d%d%d%-%d%d", model)
      assert.is_true(price.input < price.output and (price.cached or 0) < price.input, model)
    end
  end)
end)
