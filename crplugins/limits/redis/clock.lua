-- The clocks of a call, before every script that needs the time.
-- The server has no clock but the one that its administrator or NTP may set, and a step of it must not end the leases of
-- all requests that are running. So these go by a time of their own, kept under a key: it goes on as the server's clock
-- does, but from one call to the next by no more than a lease is renewed after. Somebody calls more often than that, for
-- every process announces itself; where nobody has called, nobody was there to lose a lease.

local MOST = 20000
local WRITTEN = 1000  -- so often at most: what is between is added to what is written

-- The time in ms, and that of the leases. One that is given counts for both.
local function read_clocks(key, given)
  local now = tonumber(given)
  if now then
    return now, now
  end
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
  local state = redis.call('GET', key)
  if not state then
    redis.call('SET', key, struct.pack('>dd', now, now))
    return now, now
  end
  local last, steady = struct.unpack('>dd', state)
  local passed = now - last
  if passed < 0 or passed >= WRITTEN then
    steady = steady + math.max(0, math.min(passed, MOST))
    redis.call('SET', key, struct.pack('>dd', now, steady))
    return now, steady
  end
  return now, steady + passed
end

-- How long keys of leases are kept beyond their end, in ms: the server frees memory by the clock that somebody may set.
-- What is settled is deleted at once, so that this is for the leases of processes that have died.
local KEPT = 86400000

