-- wrk's requests: the files of a folder in turn, as bodies of one content type. Arguments: folder, content type.
local requests, at = {}, 0

function init(arguments)
  for name in io.popen("ls " .. arguments[1]):lines() do
    local file = assert(io.open(arguments[1] .. "/" .. name, "rb"))
    requests[#requests + 1] = wrk.format("POST", nil, {["Content-Type"] = arguments[2]}, file:read("*a"))
    file:close()
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local e = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %f, "not_2xx": %d, "broken": %d, "p50_ms": %f, "p99_ms": %f}',
    summary.requests, summary.duration / 1e6, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
