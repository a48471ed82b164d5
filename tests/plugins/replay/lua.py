"""Scripts whose answers must be those of Redis, byte for byte, in both versions of the protocol.

Left out on purpose, because Emberlog differs (docs/decisions/0014): pairs over a library, math.random, error tables
without `err`, string.dump.
"""

SCRIPTS = r"""
return redis.error_reply("My Err")
return redis.error_reply("-My Err")
return redis.error_reply("Oneword")
return redis.error_reply({})
return redis.status_reply("fine")
return redis.status_reply()
return {err="x y"}
return {err="line\r\nbreak"}
return redis.call()
return redis.call({})
return redis.call("get",{})
return redis.call("eval","return 1",0)
return redis.call("subscribe","x")
return redis.call("nope")
return redis.pcall("nope")
return redis.call("get")
return redis.call("get","a","b")
return redis.call("set","a","1","xx","nx")
return redis.pcall("set","a","1","xx","nx").err
redis.call("set","s","x") return redis.call("incr","s")
redis.call("set","s","x") return redis.pcall("incr","s")
redis.call("hset","h","f","v") return redis.call("get","h")
x = = 1
return foo
foo = 1
string.rep = 1
redis.x = 1
setmetatable(_G,{})
rawset(_G,"x",1)
local t=nil; return t.x
local function f() error("deep") end f()
error("boom")
error({err="My Err"})
error()
error(12)
assert(false)
assert(false,"why")
local ok,e=pcall(redis.call,"nope") return {tostring(ok),type(e),e}
return {pcall(error,{err='x'})}
local ok, e = xpcall(function() error('x') end, function(e) return 'handled ' .. e end) return e
return {1,2,nil,4}
return {1.9,"a",true,false,{ok="fine"},{err="bad"}}
return {double=3.5}
return {double=3}
return {map={a=1}}
return {set={a=true}}
return {big_number='123456789012345678901234567890'}
return {verbatim_string={format='txt',string='abc'}}
return 3.99
return -3.99
return 1e300
return redis.call("echo",0.1)
return redis.call("echo",12345678)
return redis.call("echo",1e15)
return redis.call("echo",1e20)
return redis.call("echo",2^53)
return redis.call("echo",-0.5e-7)
return redis.sha1hex("")
return redis.sha1hex()
return redis.sha1hex("x","y")
return redis.setresp(4)
return redis.setresp()
return redis.log(1)
return redis.log(9,"x")
return redis.acl_check_cmd("get","x")
return redis.acl_check_cmd("nope","x")
return redis.replicate_commands()
return redis.REPL_ALL + redis.LOG_WARNING
return loadstring("return 5")()
return tostring(loadstring(string.char(27).."Lua"))
return _VERSION
return true
return false
return
redis.setresp(3) return true
redis.setresp(3) return false
redis.call("hset","h","a",1) redis.setresp(3) return redis.call("hgetall","h")
redis.call("hset","h","a",1) redis.setresp(3) local t=redis.call("hgetall","h") return t.map.a
redis.call("hset","h","a",1) return redis.call("hgetall","h")
redis.setresp(3) return tostring(redis.call("get","nokey"))
return tostring(redis.call("get","nokey"))
redis.setresp(3) return redis.call("get","nokey")
redis.call("sadd","set","a") redis.setresp(3) return redis.call("smembers","set")
redis.call("sadd","set","a") redis.setresp(3) return redis.call("smembers","set").set.a
redis.call("zadd","z",1.5,"a") return redis.call("zscore","z","a")
redis.call("zadd","z",1.5,"a") redis.setresp(3) return redis.call("zscore","z","a").double
redis.call("zadd","z",1.5,"a") redis.setresp(3) return redis.call("zscore","z","a")
redis.call("rpush","l",1,2,3) return redis.call("lrange","l",0,-1)
return redis.call("blpop","none",0)
return {redis.call("get","nokey"), redis.call("set","a","1"), redis.call("get","a"), redis.call("type","a")}
redis.call("set","n","10") return redis.call("incrby","n",5) + redis.call("get","n")
redis.call("select",5) redis.call("set","in5","1") return redis.call("dbsize")
return redis.call("exists","in5")
return {redis.call("ping"), redis.call("ping").ok, redis.call("echo","x")}
return select('#', redis.call("get","nokey"))
return #KEYS
return tostring(KEYS[1])..tostring(ARGV[1])
return string.format("%d %s %5.2f %q", 3, "a", 1.5, "x\n")
return tostring(1e15)..tostring(0.1)..tostring(1e100)
return table.getn({1,2})
return tostring(math.huge)..tostring(-math.huge)
return table.concat({1,2,3},",")
local t={3,1,2} table.sort(t) return t
return ("x"):rep(3)..#("abc")
return tostring(tonumber("0x10"))..tostring(tonumber("z",36))
return os == nil
return bit.tohex(255,4)..bit.bor(1,2)..bit.lshift(1,31)..bit.arshift(-8,1)..bit.bswap(1)
return {bit.tobit(2^40+5), bit.band(-1,255), bit.rol(1,33), bit.ror(1,1), bit.rshift(-1,28), bit.bnot(7)}
return bit.tohex(-1)..bit.tohex(255,-4)
return struct.unpack(">I2","ab")
return {struct.unpack("<i4d",struct.pack("<i4d",-5,1.5))}
return struct.pack(">I2hBc0s!4i4", 258, -2, 255, "abc", "zero", 7)
return {struct.unpack(">Bc0s","\3abczero\0rest")}
return struct.size("!8Bd")
return struct.pack("q",1)
return struct.unpack(">I4","ab")
return cmsgpack.pack({1,2,3,"x",1.5,{a=1},true,false})
return cmsgpack.pack(0,127,128,255,256,65535,65536,4294967295,4294967296,-1,-32,-33,-128,-129,-32768,-32769,-2147483649)
return cmsgpack.pack(string.rep("x",31),string.rep("y",32),string.rep("z",256))
return cmsgpack.pack(0.1, 0.5, {})
return cmsgpack.pack({[1]=1,[3]=3})
return cmsgpack.pack()
return {cmsgpack.unpack(cmsgpack.pack(1,"a",2.5,-70000,2^40))}
return {cmsgpack.unpack_one(cmsgpack.pack(5,6))}
return {cmsgpack.unpack_one(cmsgpack.pack(5,6),1)}
return {cmsgpack.unpack_limit(cmsgpack.pack(5,6,7),2)}
return cmsgpack.unpack("\217")
return cmsgpack.unpack("\193")
return cjson.encode({1,2,3,[6]=1})
return cjson.encode({1,2,3,[1000]=1})
return cjson.encode({})
return cjson.encode({{},{1},"x/y\\\"\n\1\127",1/3,true,cjson.null})
return cjson.encode(1/0)
return cjson.encode(function() end)
return cjson.encode({[1.5]=1})
return cjson.encode({[true]=1})
return cjson.encode({1e100,123456789012345678,-0.0,0.1,1e14,1e15,-5,3.0})
return cjson.encode("caf\195\169\255")
local t={} t.t=t return cjson.encode(t)
return cjson.encode()
cjson.encode_invalid_numbers(true) return cjson.encode({1/0,-1/0})
cjson.encode_invalid_numbers("null") return cjson.encode({1/0})
cjson.encode_number_precision(3) return cjson.encode(1/3)
cjson.encode_sparse_array(true) return cjson.encode({1,[1000]=2})
cjson.encode_max_depth(1) return cjson.encode({{1}})
return cjson.decode("[1,2,{\"a\":null}]")
return tostring(cjson.decode("null"))
return cjson.decode("nope")
return cjson.decode("[1,2")
return cjson.decode("{\"a\" 1}")
return cjson.decode("{\"a\":1")
return cjson.decode("[1,]")
return cjson.decode("{}x")
return cjson.decode("\"\\ud83d\\ude00\\u00e9\\/\\b\\f\\n\\r\\t\"")
return cjson.decode("\"\\ud83d\"")
return cjson.decode("\"\\ud83d\\u0041\"")
return cjson.decode("\"\\u12\"")
return {cjson.decode("[0x10, 1e5, -1.5, +1, 01, 1e, 1.5.5]")}
return cjson.decode("[0x10, 1e5, -1.5, +1, 01]")
return tostring(cjson.decode("[1e5,1E+2,-0,0.5]")[4])
return cjson.decode("")
return cjson.decode()
return cjson.decode("\"a\nb\"")
return cjson.decode("\"abc")
return cjson.decode("[tru]")
return cjson.decode("{1:2}")
return cjson.decode("\"\\x\"")
return cjson.decode(" [ 1 , 2 ] ")
return cjson.decode("\0")
return cjson.decode(string.rep("[",1001))
return cjson.encode(cjson.decode("{\"a\":[],\"b\":{}}"))
return {tostring(cjson.encode_sparse_array()),tostring(cjson.encode_max_depth()),tostring(cjson.encode_number_precision()),tostring(cjson.encode_invalid_numbers())}
local f = coroutine.wrap(function() coroutine.yield(redis.call('echo', 'y')) end) return f()
#!lua
#!js\nreturn 1
#!lua flags=x\nreturn 1
#!lua name=x\nreturn 1
#!lua flags=no-writes\nreturn redis.call("set","a","b")
#!lua flags=no-writes,allow-stale\nreturn redis.call("get","a")
"""


def scripts():
    for line in SCRIPTS.strip().splitlines():
        yield line.replace("\\n", "\n", 1) if line.startswith("#!") else line
