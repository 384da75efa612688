"""The second half of the design to replace: a task that loops over all customers, two queries and a write each, and rollups by InfluxQL.

Reads a line "START END" from its input for each turn and answers it with "done".
"""
import os, sys
from influxdb import InfluxDBClient
from pymongo import MongoClient

influx = InfluxDBClient(port=int(os.environ.get("INFLUX_PORT", "8086")), database="cenergy")
db = MongoClient(os.environ.get("MONGO", "mongodb://127.0.0.1:27017")).cenergy
for line in sys.stdin:
    a, b = map(int, line.split()); where = f"time >= {a}s and time < {b}s"
    for c in db.customer.find():
        sn = c["logger_serial_number"]
        load = list(influx.query(f'select * from "{sn}_{c["load"]}" where {where}', epoch="s").get_points())
        solar = list(influx.query(f'select * from "{sn}_{c["solar"]}" where {where}', epoch="s").get_points())
        influx.write_points([{"measurement": sn + "_missing_meter", "time": x["time"], "fields": {k: float(x[k]) - float(y[k]) for k in ("P", "L1_PF", "L1_V")}} for x, y in zip(load, solar)], time_precision="s")
        for s in (c["load"], c["solar"], "missing_meter"):
            for w, n in (("1m", 60), ("5m", 300), ("15m", 900), ("30m", 1800), ("1h", 3600), ("24h", 86400)):
                influx.query(f'select mean(P) as P, min(P) as P_min, max(P) as P_max, mean(L1_PF) as L1_PF, mean(L1_V) as L1_V into "{sn}_{s}_{w}" from "{sn}_{s}" where time >= {a // n * n}s and time < {b}s group by time({w})', method="POST")
        net = list(influx.query(f'select mean(P) from "{sn}_missing_meter" where {where} group by time(15m)', epoch="s").get_points())
        influx.write_points([{"measurement": sn + "_netload", "time": x["time"], "fields": {"P": x["mean"]}} for x in net if x["mean"] is not None], time_precision="s")
        hour = list(influx.query(f'select integral(P, 1h) from "{sn}_{c["load"]}" where time >= {a // 3600 * 3600}s and time < {b}s group by time(1h)', epoch="s").get_points())
        influx.write_points([{"measurement": sn + "_energy", "time": x["time"], "fields": {"kWh": x["integral"]}} for x in hour if x["integral"] is not None], time_precision="s")
    print("done", flush=True)
