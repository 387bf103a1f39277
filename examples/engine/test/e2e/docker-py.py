"""What scripts do with docker-py, against the engine of DOCKER_HOST. Prints one line for each thing that worked."""
import io
import sys
import tarfile
import time
import docker
from docker.types import Healthcheck, LogConfig, Mount, Ulimit

image, folder = sys.argv[1:3]
client = docker.from_env(timeout=30)
assert client.ping()
print("version", client.version()["ApiVersion"] != "", client.info()["OSType"])

# run and its ways to fail
assert client.containers.run(image, ["echo", "hello"], remove=True) == b"hello\n"
try:
    client.containers.run(image, ["sh", "-c", "echo bad >&2; exit 4"], remove=True, stderr=True)
except docker.errors.ContainerError as error:
    print("run", error.exit_status, error.stderr.decode().strip())
try:
    client.containers.get("nobody")
except docker.errors.NotFound as error:
    print("not found", error.response.status_code)
try:
    client.images.get("nothing/here")
except docker.errors.ImageNotFound:
    print("image not found")

# a container with everything
container = client.containers.create(
    image,
    ["sh", "-c", "echo started; trap 'echo stopping; exit 0' TERM; while :; do sleep 0.1; done"],
    name="everything",
    environment={"A": "1"},
    labels={"l": "v"},
    hostname="host",
    mem_limit="64m",
    nano_cpus=500000000,
    ulimits=[Ulimit(name="nofile", soft=100, hard=200)],
    mounts=[Mount("/vol", "pyvol"), Mount("/tmpfs", None, type="tmpfs")],
    tmpfs={"/scratch": "size=1m"},
    extra_hosts={"other": "10.9.8.7"},
    cap_drop=["ALL"],
    cap_add=["KILL"],
    log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "1m"}),
    healthcheck=Healthcheck(test=["CMD", "true"], interval=100000000),
    restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
    detach=True,
)
container.start()
container.reload()
print("created", container.status, container.attrs["HostConfig"]["Memory"], container.labels["l"])
code, output = container.exec_run(["sh", "-c", "echo $A; hostname; ulimit -n; grep other /etc/hosts; exit 7"])
print("exec", code, output.decode().split())
code, (out, err) = container.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True)
print("demux", out, err)
stats = container.stats(stream=False)
print("stats", stats["memory_stats"]["limit"], "cpu_stats" in stats)
print("top", container.top()["Titles"][0])

# files
buffer = io.BytesIO()
with tarfile.open(fileobj=buffer, mode="w") as archive:
    content = b"from python"
    entry = tarfile.TarInfo("file")
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
assert container.put_archive("/vol", buffer.getvalue())
pieces, stat = container.get_archive("/vol/file")
with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
    print("archive", stat["name"], archive.extractfile("file").read())
print("diff", [change["Path"] for change in container.diff() or []])

# logs, events, the end
container.stop(timeout=5)
print("logs", container.logs().decode().split(), container.wait()["StatusCode"])
committed = container.commit("pycommit", "one", changes=["CMD [\"cat\", \"/etc/hostname\"]"])
print("commit", committed.tags)
container.rename("renamed")
now = int(time.time()) + 2
events = client.events(since=now - 60, until=now, decode=True, filters={"container": container.id})
print("events", [event["Action"] for event in events][:2])
container.remove(v=True)

# attach by the low-level API, with a socket
raw = client.api.create_container(image, ["cat"], stdin_open=True, host_config=client.api.create_host_config())
socket = client.api.attach_socket(raw["Id"], params={"stdin": 1, "stdout": 1, "stream": 1})
client.api.start(raw["Id"])
socket._sock.sendall(b"typed\n")
socket._sock.shutdown(1)
received = b""
while True:
    chunk = socket._sock.recv(4096)
    if not chunk:
        break
    received += chunk
print("attach", received[8:])
client.api.remove_container(raw["Id"], force=True)

# networks and volumes
network = client.networks.create("pynet", driver="bridge", labels={"x": "y"})
server = client.containers.run(image, ["sh", "-c", "echo page > /index.html; exec httpd -f -p 80"], network="pynet", name="pyweb", detach=True)
print("network", client.containers.run(image, ["wget", "-qO-", "http://pyweb/"], network="pynet", remove=True))
network.reload()
print("members", [member.name for member in network.containers])
server.remove(force=True)
network.remove()
print("volumes", [volume.name for volume in client.volumes.list()])
client.volumes.get("pyvol").remove()

# images
built, lines = client.images.build(path=folder, tag="pybuilt:1", buildargs={"who": "docker-py"}, rm=True)
print("build", built.tags, any("Successfully built" in line.get("stream", "") for line in lines))
print("built", client.containers.run("pybuilt:1", remove=True))
try:
    client.images.build(fileobj=io.BytesIO(b"FROM " + image.encode() + b"\nRUN exit 9"))
except docker.errors.BuildError as error:
    print("build error", "returned a non-zero code: 9" in error.msg)
archive = b"".join(built.save(named=True))
client.images.remove("pybuilt:1")
loaded = client.images.load(archive)
print("load", loaded[0].tags)
for name in ("pybuilt:1", "pycommit:one"):
    client.images.remove(name)
print("history", len(client.images.get(image).history()) > 0, client.df()["Containers"] in (None, []))
