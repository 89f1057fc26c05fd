-- Replaces what was reserved by the real cost, and frees the leases. Idempotent.
-- KEYS: the reservation's marker, then each limit's state.
-- ARGV: id, debt, now in ms or '', then kind, amount, period and difference of each limit.
-- Returns 1; 0, and nothing is changed, if the reservation was settled before or has expired.

local id, debt, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local expiry = tonumber(redis.call('GET', KEYS[1]) or 0)
redis.call('DEL', KEYS[1])
if expiry <= now then
  return 0
end

for i = 1, #KEYS - 1 do
  local a = 4 + (i - 1) * 4
  local key, kind = KEYS[i + 1], ARGV[a]
  local amount, period, difference = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])

  if kind == 'lease' then
    redis.call('ZREM', key, id)
  elseif difference == 0 then
    -- as reserved
  elseif kind == 'window' then
    -- A late refund is for its own window or for none.
    if redis.call('EXISTS', key) == 1 then
      redis.call('INCRBY', key, difference)
    end
  else
    local used = 0
    local state = redis.call('GET', key)
    if state then
      local u, t = struct.unpack('>dd', state)
      used = math.max(0, u - math.max(0, now - t) * amount / period)
    end
    used = math.min(math.max(0, used + difference), math.max(used, amount * (1 + debt)))
    if used > 0 then
      redis.call('SET', key, struct.pack('>dd', used, now), 'PX', math.ceil(used * period / amount) + 1000)
    else
      redis.call('DEL', key)
    end
  end
end
return 1
