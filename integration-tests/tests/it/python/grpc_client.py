"""A gRPC client generated here and now from the contracts, with grpcio-tools and nothing else."""

import os
import sys
from pathlib import Path

import grpc
from grpc_tools import protoc

out, proto = Path(sys.argv[1]) / "generated", Path(sys.argv[2])
out.mkdir()
files = [str(p.relative_to(proto)) for p in proto.rglob("*.proto") if "internal" not in p.parts]
include = [f"-I{proto}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
assert protoc.main(["protoc", *include, f"--python_out={out}", f"--grpc_python_out={out}", *files]) == 0
# google.api is ours as well; the package `google` is shared with protobuf's own
sys.path.insert(0, str(out))
import google

google.__path__.append(str(out / "google"))

from embermesh.v1 import embeddings_pb2 as messages
from embermesh.v1 import embeddings_pb2_grpc as services

channel = grpc.insecure_channel(os.environ["EMBERMESH_URL"].removeprefix("http://"))
stub = services.EmbeddingsStub(channel)
key = [("x-api-key", os.environ["EMBERMESH_API_KEY"])]

text = "The lighthouse keeper counts the ships."
made = stub.Embed(messages.EmbedRequest(agent_id="grpc", text=text, metadata='{"from": "grpc"}'), metadata=key)
assert len(made.embedding) == 384 and made.space_id.endswith("@384"), made.space_id
batch = [messages.EmbedRequest(agent_id="grpc", text=f"other text {n}") for n in range(5)]
answer, call = stub.EmbedBatch.with_call(messages.EmbedBatchRequest(requests=batch), metadata=key)
assert (answer.count, answer.failed) == (5, 0)
headers = dict(call.initial_metadata())
assert headers["x-embermesh-cached"] == "0/5", headers
found = stub.Search(messages.SearchRequest(agent_id="grpc", query="who watches the boats?", limit=1), metadata=key)
assert found.results[0].content == text and found.results[0].metadata == '{"from": "grpc"}', found
assert stub.GetEmbedding(messages.GetEmbeddingRequest(embedding_id=made.embedding_id), metadata=key).content == text

for call, code in [
    (lambda: stub.Embed(messages.EmbedRequest(text="x")), grpc.StatusCode.UNAUTHENTICATED),
    (lambda: stub.Embed(messages.EmbedRequest(text=""), metadata=key), grpc.StatusCode.INVALID_ARGUMENT),
]:
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
    else:
        raise AssertionError(f"{code} was expected")
print("checked")
