"""Talks to a parley server through the websockets library: sends, receives, is pinged and closes."""
import asyncio
import json
import sys
import urllib.request
import uuid

import websockets


def call(api, path, body, token=None):
    request = urllib.request.Request(api + path, json.dumps(body).encode(), {"content-type": "application/json"})
    if token:
        request.add_header("authorization", "Bearer " + token)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def register(api, name):
    return call(api, "/auth/register", {"username": name, "email": name + "@example.org", "password": name + " has a horse"})


async def login(url, token):
    ws = await websockets.connect(url, subprotocols=["parley.v1"], compression=None, max_size=2 << 20)
    assert ws.subprotocol == "parley.v1", ws.subprotocol
    await ws.send(json.dumps({"id": 1, "type": "auth", "data": {"token": token}}))
    assert json.loads(await ws.recv())["type"] == "auth:ok"
    await ws.send(json.dumps({"id": 2, "type": "sync", "data": {"conversations": {}}}))
    while json.loads(await ws.recv())["type"] != "caught_up":
        pass
    return ws


def client_id():
    import os
    import time

    b = bytearray(int(time.time() * 1000).to_bytes(6, "big") + os.urandom(10))
    b[6], b[8] = b[6] & 0x0F | 0x70, b[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(b)))


async def main(origin):
    api = origin + "/api/v1"
    ann, ben = register(api, "ann"), register(api, "ben")
    talk = call(api, "/conversations", {"type": "direct", "user_id": ben["user"]["id"]}, ann["access_token"])["conversation"]["id"]
    url = origin.replace("http", "ws", 1) + "/api/v1/ws"
    a, b = await login(url, ann["access_token"]), await login(url, ben["access_token"])
    for text in ["short", "ü" * 40_000, "🙂 " * 30_000]:
        send = {"conversation_id": talk, "client_id": client_id(), "type": "text", "text": text}
        frame = json.dumps({"id": 7, "type": "message:send", "data": send}, ensure_ascii=False)
        half = len(frame) // 2
        await a.send([frame[:half], frame[half:]])  # in fragments
        answer = json.loads(await a.recv())
        assert answer["type"] == "message:sent" and answer["id"] == 7, answer
        got = json.loads(await b.recv())
        assert got["type"] == "message:received" and got["data"]["text"] == text, got["type"]
    await (await a.ping(b"are you there"))
    await a.send("{")
    assert json.loads(await a.recv())["type"] == "error"
    await a.close()
    assert a.close_code == 1000, a.close_code
    await b.send(b"binary")
    try:
        await b.recv()
    except websockets.ConnectionClosed:
        pass
    assert b.close_code in range(4000, 4500), b.close_code
    print("closed with", b.close_code)


asyncio.run(main(sys.argv[1]))
