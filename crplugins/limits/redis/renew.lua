-- Renews live reservations; those that have expired stay so.
-- KEYS: of each reservation its marker, then its leases' states; and the clock.
-- ARGV: lease in ms, now in ms or '', then id and number of leases of each reservation.
-- Returns how many were live.

local lease, _, now = tonumber(ARGV[1]), read_clocks(KEYS[#KEYS], ARGV[2])
local live, k = 0, 1

for a = 3, #ARGV, 2 do
  local id, leases = ARGV[a], tonumber(ARGV[a + 1])
  if tonumber(redis.call('GET', KEYS[k]) or 0) > now then
    live = live + 1
    redis.call('SET', KEYS[k], now + lease, 'PX', lease + KEPT)
    for i = k + 1, k + leases do
      redis.call('ZADD', KEYS[i], 'XX', now + lease, id)
      redis.call('PEXPIRE', KEYS[i], lease + KEPT)
    end
  end
  k = k + 1 + leases
end
return live
