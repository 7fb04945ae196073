"""OpenAI's SDK, sync and async, floats and base64, and LangChain, against the vectors of the REST route."""

import asyncio
import base64
import json
import os
import struct
import urllib.request

import openai
from langchain_openai import OpenAIEmbeddings

URL, KEY = os.environ["EMBERMESH_URL"], os.environ["EMBERMESH_API_KEY"]
MODEL = "all-MiniLM-L6-v2"
TEXTS = [f"Text number {n}: {'café 日本 🚢 '[: n % 12]} the ferry leaves at {n}:00." for n in range(50)]


def rest(text):
    body = json.dumps({"agent_id": "rest", "text": text, "model": MODEL, "store": False}).encode()
    headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{URL}/api/v1/embeddings", body, headers)) as answer:
        return json.load(answer)["embedding"]


def cosine(a, b):
    assert len(a) == len(b) == 384, (len(a), len(b))
    dot = lambda x, y: sum(p * q for p, q in zip(x, y))
    return dot(a, b) / (dot(a, a) * dot(b, b)) ** 0.5


def same(name, vectors, expected):
    assert len(vectors) == len(expected), name
    worst = min(cosine(a, b) for a, b in zip(vectors, expected))
    assert worst >= 0.9999, (name, worst)
    print(f"{name}: {len(vectors)} vectors, lowest cosine {worst:.7f}")


def decoded(answer):
    raw = [base64.b64decode(item.embedding) for item in answer.data]
    return [struct.unpack(f"<{len(b) // 4}f", b) for b in raw]


async def from_async(expected):
    client = openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY)
    answer = await client.embeddings.create(model=MODEL, input=TEXTS)
    same("async", [item.embedding for item in answer.data], expected)


expected = [rest(text) for text in TEXTS]
client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY)

answer = client.embeddings.create(model=MODEL, input=TEXTS)  # the SDK asks for base64 and decodes it
same("sync", [item.embedding for item in answer.data], expected)
assert [item.index for item in answer.data] == list(range(50)) and answer.usage.total_tokens > 0
answer = client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float")
same("float", [item.embedding for item in answer.data], expected)
answer = client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="base64")
same("base64", decoded(answer), expected)
answer = client.embeddings.create(model=MODEL, input=TEXTS[0])
same("one string", [answer.data[0].embedding], expected[:1])
asyncio.run(from_async(expected))

langchain = OpenAIEmbeddings(model=MODEL, base_url=f"{URL}/v1", api_key=KEY, tiktoken_model_name="text-embedding-3-small")
same("langchain, token arrays", langchain.embed_documents(TEXTS), expected)
same("langchain, one query", [langchain.embed_query(TEXTS[7])], expected[7:8])

assert MODEL in [model.id for model in client.models.list()]
assert client.models.retrieve(MODEL).id == MODEL
for call, wanted in [
    (lambda: client.embeddings.create(model="nope", input="x"), openai.NotFoundError),
    (lambda: client.embeddings.create(model=MODEL, input=""), openai.BadRequestError),
    (lambda: openai.OpenAI(base_url=f"{URL}/v1", api_key="wrong").models.list(), openai.AuthenticationError),
]:
    try:
        call()
    except wanted as error:
        assert error.body["message"], error.body
    else:
        raise AssertionError(f"{wanted.__name__} was expected")
print("checked")
