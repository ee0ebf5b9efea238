"""Evaluates flags with the Python SDK: one question as JSON per line of standard input, one answer per line of standard
output. Arguments: URL, token."""

import json
import sys

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

url, token = sys.argv[1:]
api.set_provider(OFREPProvider(url, headers_factory=lambda: {"Authorization": f"Bearer {token}"}))
client = api.get_client()
ask = {
    "boolean": client.get_boolean_details,
    "string": client.get_string_details,
    "integer": client.get_integer_details,
    "float": client.get_float_details,
    "object": client.get_object_details,
}

for line in sys.stdin:
    question = json.loads(line)
    context = dict(question.get("context") or {})
    context = EvaluationContext(targeting_key=context.pop("targetingKey", None), attributes=context)
    details = ask[question["type"]](question["key"], question["fallback"], context)
    answer = {
        "value": details.value,
        "variant": details.variant,
        "reason": details.reason and str(getattr(details.reason, "value", details.reason)),
        "errorCode": details.error_code and details.error_code.value,
        "metadata": dict(details.flag_metadata),
    }
    print(json.dumps(answer), flush=True)
