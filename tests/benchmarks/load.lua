-- What wrk runs: sends one request over and over and looks at every answer.
-- Told by the environment: BENCH_BODY and BENCH_EXPECTED (files), BENCH_CONTENT_TYPE, BENCH_CONTAINS, BENCH_MOST.

local threads = {}

local function contents(name)
    local file = assert(io.open(os.getenv(name), "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    wrk.method = "POST"
    wrk.body = contents("BENCH_BODY")
    wrk.headers["Content-Type"] = os.getenv("BENCH_CONTENT_TYPE")
    expected = contents("BENCH_EXPECTED")
    contains = os.getenv("BENCH_CONTAINS") == "1"
    most = tonumber(os.getenv("BENCH_MOST"))
    answers, good, busy, wrong_status, wrong_body = 0, 0, 0, 0, 0
end

local function is_right(body)
    if contains then
        return string.find(body, expected, 1, true) ~= nil
    end
    return body == expected
end

function response(status, headers, body)
    if status == 503 then
        busy = busy + 1
    elseif status ~= 200 then
        wrong_status = wrong_status + 1
    elseif is_right(body) then
        good = good + 1
    else
        wrong_body = wrong_body + 1
    end
    answers = answers + 1
    if answers >= most then
        wrk.thread:stop()
    end
end

-- One line of `name=number` for whoever started wrk; times in microseconds.
function done(summary, latency, requests)
    local counts = { good = 0, busy = 0, wrong_status = 0, wrong_body = 0 }
    for _, thread in ipairs(threads) do
        for name, count in pairs(counts) do
            counts[name] = count + thread:get(name)
        end
    end
    local line = string.format("duration=%d", summary.duration)
    for name, count in pairs(counts) do
        line = line .. string.format(" %s=%d", name, count)
    end
    for _, name in ipairs({ "connect", "read", "write", "timeout" }) do
        line = line .. string.format(" %s_errors=%d", name, summary.errors[name])
    end
    for name, percentile in pairs({ p50 = 50, p75 = 75, p90 = 90, p99 = 99, p999 = 99.9 }) do
        line = line .. string.format(" %s=%d", name, latency:percentile(percentile))
    end
    print("BENCHMARK " .. line)
end
