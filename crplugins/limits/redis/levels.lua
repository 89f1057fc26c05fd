-- The levels of limits, without charging anything.
-- KEYS: each limit's state. ARGV: now in ms or '', then kind, amount and period of each limit.
-- Returns used and reset in ms of each limit.

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local answer = {}
for i = 1, #KEYS do
  local a = 2 + (i - 1) * 3
  local key, kind = KEYS[i], ARGV[a]
  local amount, period = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local used, reset = 0, 0

  if kind == 'meter' then
    local state = redis.call('GET', key)
    if state then
      local u, t = struct.unpack('>dd', state)
      used = math.max(0, u - math.max(0, now - t) * amount / period)
    end
    reset = math.ceil(used * period / amount)
  elseif kind == 'window' then
    used = tonumber(redis.call('GET', key) or 0)
    reset = period - now
  else
    used = redis.call('ZCOUNT', key, '(' .. string.format('%.0f', now), '+inf')
  end
  answer[#answer + 1] = math.floor(used)
  answer[#answer + 1] = reset
end
return answer
