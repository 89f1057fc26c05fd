-- Charges all limits, or none if one of them refuses.
-- KEYS: the reservation's marker, then each limit's state, and the clock.
-- ARGV: id, lease in ms, now in ms or '', then kind, amount, period, burst and cost of each limit.
-- Returns {index of the limit that has to wait longest or 0, its wait in ms, used and reset in ms of each limit}.
-- The TTL of keys only frees memory, a while late: whether something has expired is decided by the times in the values.

local id, lease = ARGV[1], tonumber(ARGV[2])
local now, steady = read_clocks(KEYS[#KEYS], ARGV[3])

local GARBAGE, LONGEST_LEASE = 60000, 60000
local charges, refused, wait = {}, 0, 0
local answer = {0, 0}

for i = 1, #KEYS - 2 do
  local a = 4 + (i - 1) * 5
  local key, kind = KEYS[i + 1], ARGV[a]
  local amount, period, burst, cost = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
  local used, reset, retry, meter = 0, 0, nil, nil

  if kind == 'meter' then
    meter = read_meter(key, now, amount, period)
    used = meter.used
    -- More than the burst, but within the amount: such a charge needs an empty meter.
    local cap = math.max(burst, math.min(cost, amount))
    if used + cost > cap or (cost == 0 and used >= cap) then
      retry = cost > amount and -1 or math.max(1, math.ceil((used + cost - cap) * period / amount))
    end
    reset = math.ceil(used * period / amount)
  elseif kind == 'window' then
    used = tonumber(redis.call('GET', key) or 0)
    reset = period - now
    if used + cost > amount or (cost == 0 and used >= amount) then
      retry = cost > amount and -1 or math.max(1, reset)
    end
  else
    redis.call('ZREMRANGEBYSCORE', key, '-inf', steady)
    used = redis.call('ZCARD', key)
    if used + cost > amount then
      retry = 1000
    end
  end

  if retry and (refused == 0 or retry == -1 or (wait ~= -1 and retry > wait)) then
    refused, wait = i, retry
  end
  charges[i] = {key, kind, amount, period, used, cost, meter}
  answer[#answer + 1] = math.floor(used)
  answer[#answer + 1] = reset
end

if refused > 0 then
  -- After a clock that was ahead nobody waits until it is as late again: meters drain from now on, and no lease stays
  -- for longer than one that is taken now.
  for _, charge in ipairs(charges) do
    local key, kind, amount, period, used, _, meter = unpack(charge, 1, 7)
    if kind == 'meter' and meter.at and meter.at > now then
      write_meter(key, meter, used, 0, now, amount, period)
    elseif kind == 'lease' then
      local latest = steady + LONGEST_LEASE
      for _, holder in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. string.format('%.0f', latest), '+inf')) do
        redis.call('ZADD', key, latest, holder)
      end
    end
  end
  answer[1], answer[2] = refused, wait
  return answer
end

for _, charge in ipairs(charges) do
  local key, kind, amount, period, used, cost, meter = unpack(charge)
  if kind == 'meter' then
    if used + cost > 0 then
      write_meter(key, meter, used + cost, cost, now, amount, period)
    end
  elseif kind == 'window' then
    redis.call('INCRBY', key, cost)
    redis.call('PEXPIRE', key, math.max(1, period - now) + GARBAGE)
  else
    redis.call('ZADD', key, steady + lease, id)
    redis.call('PEXPIRE', key, lease + KEPT)
  end
end
redis.call('SET', KEYS[1], steady + lease, 'PX', lease + KEPT)
return answer
