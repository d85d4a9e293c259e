"""JSON Schemas of the five APIs, written from their documents.

Where a document has an OpenAPI schema, this is it, with its prose ("must be >= 1") and the settled
points (nulls for optional fields) added; the generic one and Cohere's are written from their tables
and examples. Responses say `additionalProperties: false`, so that a stray field is a failure.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 1}
STRINGS: Schema = {"type": "array", "items": STRING}
OBJECT: Schema = {"type": "object"}
TOKENS: Schema = {"type": "integer", "minimum": 0}
SCORE: Schema = {"type": "number", "minimum": 0, "maximum": 1}


def an_object(required: Schema, optional: Schema | None = None, *, closed: bool = True) -> Schema:
    properties = {**required, **(optional or {})}
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": not closed,
    }


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def at_least_one(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def request(documents: Schema, optional: Schema, *, closed: bool) -> Schema:
    return an_object(
        {"model": STRING, "query": STRING, "documents": documents},
        {name: nullable(schema) for name, schema in optional.items()},
        closed=closed,
    )


TEXT_OBJECT: Schema = an_object({"text": STRING}, closed=False)
TEXT_OR_OBJECT: Schema = {"oneOf": [STRING, TEXT_OBJECT]}

REQUESTS: dict[str, Schema] = {
    "together": request(
        {"oneOf": [at_least_one(STRING), at_least_one(OBJECT)]},
        {"top_n": COUNT, "return_documents": BOOLEAN, "rank_fields": STRINGS},
        closed=True,
    ),
    "generic": request(
        at_least_one(TEXT_OR_OBJECT),
        {
            "top_n": COUNT,
            "return_documents": BOOLEAN,
            "truncate": {"enum": ["none", "start", "end"]},
            "max_tokens_per_document": COUNT,
            "metadata": OBJECT,
            "user": STRING,
            "extra_body": OBJECT,
        },
        closed=False,
    ),
    "portkey": request(
        at_least_one(TEXT_OR_OBJECT),
        {
            "top_n": COUNT,
            "return_documents": BOOLEAN,
            "max_tokens_per_doc": COUNT,
            "priority": {"type": "number"},
            "rank_fields": STRINGS,
            "truncation": BOOLEAN,
            "parameters": OBJECT,
        },
        closed=False,
    ),
    "contextual": request(
        at_least_one(STRING),
        {"top_n": COUNT, "instruction": STRING, "metadata": STRINGS},
        closed=True,
    ),
    "cohere": request(
        at_least_one(STRING),
        {
            "top_n": COUNT,
            "max_tokens_per_doc": COUNT,
            "priority": {"type": "integer", "minimum": 0, "maximum": 999},
            "return_documents": BOOLEAN,
            "rank_fields": STRINGS,
        },
        closed=True,
    ),
}


def results(document: Schema | None = None, *, required: bool = False) -> Schema:
    always = {"index": TOKENS, "relevance_score": SCORE}
    sometimes = {} if document is None else {"document": document}
    item = an_object(always | sometimes) if required else an_object(always, sometimes)
    return {"type": "array", "items": item}


COHERE_META: Schema = an_object(
    {
        "api_version": an_object({"version": {"enum": ["1", "2"]}, "is_experimental": BOOLEAN}),
        "billed_units": an_object({"search_units": COUNT}),
        "tokens": an_object({"input_tokens": TOKENS, "output_tokens": {"const": 0}}),
    },
    {"warnings": at_least_one(STRING)},
)

RESPONSES: dict[str, Schema] = {
    "together": an_object(
        {
            "id": STRING,
            "object": {"const": "rerank"},
            "model": STRING,
            "results": results(an_object({}, {"text": STRING}), required=True),
            "usage": an_object(
                {"prompt_tokens": TOKENS, "completion_tokens": TOKENS, "total_tokens": TOKENS}
            ),
        }
    ),
    "generic": an_object(
        {
            "id": STRING,
            "object": {"const": "list"},
            "model": STRING,
            "results": results(TEXT_OBJECT),
            "usage": an_object({"prompt_tokens": TOKENS, "total_tokens": TOKENS}),
        }
    ),
    "portkey": an_object(
        {
            "id": STRING,
            "object": {"const": "list"},
            "model": STRING,
            "results": results(TEXT_OBJECT),
            "usage": an_object({"search_units": COUNT}),
            "provider": STRING,
        }
    ),
    "contextual": an_object({"results": results()}),
    "cohere": an_object(
        {"id": STRING, "results": results(TEXT_OBJECT), "meta": COHERE_META},
        {"warnings": at_least_one(STRING)},
    ),
}

OPENAI_ERROR: Schema = an_object(
    {
        "error": an_object(
            {
                "message": STRING,
                "type": STRING,
                "param": nullable(STRING),
                "code": nullable(STRING),
            }
        )
    }
)

ERRORS: dict[str, Schema] = {
    "together": OPENAI_ERROR,
    "generic": OPENAI_ERROR,
    "portkey": OPENAI_ERROR,
    "contextual": an_object(
        {
            "detail": at_least_one(
                an_object(
                    {
                        "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                        "msg": STRING,
                        "type": STRING,
                    }
                )
            )
        }
    ),
    "cohere": an_object({"message": STRING}),
}

# The statuses with which each API says that a request is bad.
BAD_STATUSES: dict[str, set[int]] = {
    "together": {400},
    "generic": {400},
    "portkey": {400},
    "contextual": {422},
    "cohere": {400, 422},
}
