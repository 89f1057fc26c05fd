-- Adds entries to a stream: KEYS[1] is its key, ARGV[1] about how many entries it has at most, the rest are messages.

for number = 2, #ARGV do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'record', ARGV[number])
end
