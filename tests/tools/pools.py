# Asks about pools of CPUs, past what `xl` lets through. Each question is a command with its answer.
import sys

sys.path.insert(0, "/usr/lib/xen-4.17/lib/python")
from xen.lowlevel.xc import xc

tools = xc()


def ask(name, *args, **named):
    try:
        answer = getattr(tools, "cpupool_" + name)(*args, **named)
    except Exception as error:
        answer = error.args
    print("##", name, args, named, "\n->", answer, flush=True)


ask("getinfo")
ask("freeinfo")
ask("destroy", 7)
ask("addcpu", 7, 1)
ask("removecpu", 7, 1)
ask("movedomain", 7, 0)
ask("destroy", 0)
ask("addcpu", 0, 1)
ask("addcpu", 0, 9)
ask("removecpu", 0, 9)
for scheduler in (0, 4, 6, 7, 9, 10):
    ask("create", sched=scheduler)
    ask("getinfo")
for pool in range(1, 6):
    ask("destroy", pool)
ask("create", pool=3, sched=6)
ask("create", pool=3, sched=6)
ask("getinfo")
ask("movedomain", 3, 0)
ask("movedomain", 3, 99)
ask("movedomain", 0, 0)
ask("destroy", 1)
ask("removecpu", 0, 1)
ask("getinfo")
ask("freeinfo")
ask("removecpu", 0, 0)
ask("addcpu", 3, 0)
ask("addcpu", 3, 1)
ask("getinfo")
ask("freeinfo")
ask("addcpu", 0, 1)
ask("movedomain", 3, 1)
ask("getinfo")
ask("removecpu", 3, 1)
ask("destroy", 3)
ask("movedomain", 0, 1)
ask("destroy", 3)
ask("getinfo")
ask("freeinfo")
ask("addcpu", 0, 1)
ask("getinfo")
ask("removecpu", 0, -1)
ask("getinfo")
ask("addcpu", 0, -1)
ask("getinfo")
ask("movedomain", 0, 32753)
