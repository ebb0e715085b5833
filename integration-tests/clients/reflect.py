"""Calls a method of a service that it knows nothing of but its name: gRPC reflection, as a foreign client does it.

    reflect.py MADE ENDPOINT NAME CA CERTIFICATE KEY SERVICE METHOD REQUEST

gRPC, TLS and descriptors are Google's (Debian's python3-grpcio, python3-protobuf); the messages of reflection and
health are what protoc made of Debian's grpc-proto, in the folder MADE. It prints what it saw as one JSON object.
"""

import json
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

# What protoc made lies in packages below grpc, as its sources do.
grpc.__path__.append(sys.argv.pop(1) + "/grpc")
from grpc.health.v1 import health_pb2
from grpc.reflection.v1 import reflection_pb2 as v1
from grpc.reflection.v1alpha import reflection_pb2 as v1alpha

PATIENCE = 10


def ask(channel, messages, **question):
    package = messages.DESCRIPTOR.package
    call = channel.stream_stream(
        f"/{package}.ServerReflection/ServerReflectionInfo",
        request_serializer=messages.ServerReflectionRequest.SerializeToString,
        response_deserializer=messages.ServerReflectionResponse.FromString,
    )
    return next(call(iter([messages.ServerReflectionRequest(**question)]), timeout=PATIENCE))


def load(channel, messages, pool, known, **question):
    """Adds the files of an answer to the pool, each after what it imports."""
    answer = ask(channel, messages, **question)
    for octets in answer.file_descriptor_response.file_descriptor_proto:
        file = descriptor_pb2.FileDescriptorProto.FromString(octets)
        if file.name in known:
            continue
        known.add(file.name)
        for name in file.dependency:
            if name not in known:
                load(channel, messages, pool, known, file_by_filename=name)
        pool.Add(file)


def call(channel, messages, service, method, request):
    pool = descriptor_pool.DescriptorPool()
    load(channel, messages, pool, set(), file_containing_symbol=service)
    described = pool.FindServiceByName(service).FindMethodByName(method)
    made = message_factory.MessageFactory(pool)
    asked, answered = (made.GetPrototype(one) for one in (described.input_type, described.output_type))
    one = channel.unary_unary(
        f"/{service}/{method}", request_serializer=asked.SerializeToString, response_deserializer=answered.FromString
    )
    answer = one(json_format.Parse(request, asked()), timeout=PATIENCE)
    return json_format.MessageToDict(answer, preserving_proto_field_name=True)


def main():
    endpoint, name, ca, certificate, key, service, method, request = sys.argv[1:]
    read = lambda path: open(path, "rb").read()
    credentials = grpc.ssl_channel_credentials(read(ca), read(key), read(certificate))
    options = [("grpc.ssl_target_name_override", name), ("grpc.enable_http_proxy", 0)]
    with grpc.secure_channel(endpoint, credentials, options) as channel:
        seen = {}
        for version, messages in (("v1", v1), ("v1alpha", v1alpha)):
            listed = ask(channel, messages, list_services="").list_services_response.service
            seen[version] = {
                "services": sorted(one.name for one in listed),
                "answer": call(channel, messages, service, method, request),
            }
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        status = lambda of: check(health_pb2.HealthCheckRequest(service=of), timeout=PATIENCE).status
        seen["health"] = {of: health_pb2.HealthCheckResponse.ServingStatus.Name(status(of)) for of in ("", "changes")}
    json.dump(seen, sys.stdout)


main()
