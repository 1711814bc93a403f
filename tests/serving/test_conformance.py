"""Exports asked by the official messages, over gRPC, as REST has them, and from C.

TF Serving itself is not here. What it asks of a SavedModel is in its messages and in
its documentation: the names of methods, what inputs a signature must be given, and how
JSON becomes tensors.
"""

import concurrent.futures
import json
import shutil
import subprocess
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from keras_ebm.serving.signatures import REFUSED

PREDICT = "tensorflow/serving/predict"


class Server(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers as TF Serving does, from one SavedModel."""

    def __init__(self, path):
        self.loaded = tf.saved_model.load(str(path))
        self.methods = {
            name: signature.method_name for name, signature in definitions(path).items()
        }

    def _signature(self, request, method, context):
        name = request.model_spec.signature_name or "serving_default"
        if self.methods.get(name) != method:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Expected {name} to have the method {method}",
            )
        return self.loaded.signatures[name]

    def Predict(self, request, context):
        signature = self._signature(request, PREDICT, context)
        given = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
        wanted = signature.structured_input_signature[1]
        if set(given) != set(wanted):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "input size does not match")
        given = {k: tf.constant(v) for k, v in given.items()}
        if any(given[k].dtype != spec.dtype for k, spec in wanted.items()):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "input of another type")
        answer = predict_pb2.PredictResponse()
        for name, value in signature(**given).items():
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return answer

    def _of_examples(self, request, method, context):
        signature = self._signature(request, method, context)
        examples = request.input.example_list.examples
        serialised = [example.SerializeToString() for example in examples]
        found = signature(inputs=tf.constant(serialised))
        return {name: value.numpy() for name, value in found.items()}

    def Classify(self, request, context):
        method = "tensorflow/serving/classify"
        found = self._of_examples(request, method, context)
        answer = classification_pb2.ClassificationResponse()
        for labels, scores in zip(found["classes"], found["scores"], strict=True):
            row = answer.result.classifications.add()
            for label, score in zip(labels, scores, strict=True):
                row.classes.add(label=label.decode(), score=score)
        return answer

    def Regress(self, request, context):
        found = self._of_examples(request, "tensorflow/serving/regress", context)
        answer = regression_pb2.RegressionResponse()
        for value in found["outputs"]:
            answer.result.regressions.add(value=value)
        return answer


def definitions(path):
    """The signatures of a SavedModel, as its file has them."""
    saved = saved_model_pb2.SavedModel.FromString(
        (path / "saved_model.pb").read_bytes()
    )
    return dict(saved.meta_graphs[0].signature_def)


@pytest.fixture(scope="module")
def stub(table_export):
    """A client of a server on this machine."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Server(table_export.path), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)
    server.stop(None).wait()


CELLS = {
    "age": np.float32([41, 1e9]),
    "city": ["Wien", "Graz"],
    "when": np.array([1_700_000_000_500.0] * 2),
}


def example(row: dict) -> tf.train.Example:
    """A row as TF Serving makes an example of its JSON: absent keys are left out."""
    kept = tf.train.Example()
    for name, value in row.items():
        feature = kept.features.feature[name]
        if isinstance(value, str):
            feature.bytes_list.value.append(value.encode())
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.float_list.value.append(value)
    return kept


def test_a_prediction_comes_back_over_the_wire(stub):
    request = predict_pb2.PredictRequest()
    for name, cells in CELLS.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(cells))
    outputs = stub.Predict(request).outputs
    found = {name: tf.make_ndarray(value) for name, value in outputs.items()}
    # 99 calibration rows: the p-value of what is above them all is 1/100.
    assert found["p_value"][0] > 0.01 and found["p_value"][1] == np.float32(0.01)
    assert found["accept"].tolist() == (found["p_value"] > 0.1).tolist()
    assert found["reason"][1] == b"outside the training range: age"
    del request.inputs["age"]
    with pytest.raises(grpc.RpcError, match="input size"):
        stub.Predict(request)


def test_classify_and_regress_answer_by_their_own_interfaces(stub):
    rows = [{"age": 41.0, "when": "1700000000000"}, {"age": 1e9, "city": "Graz"}]
    request = classification_pb2.ClassificationRequest()
    request.model_spec.signature_name = "classify"
    request.input.example_list.examples.extend(map(example, rows))
    first, second = stub.Classify(request).result.classifications
    assert [one.label for one in first.classes] == ["no", "yes", REFUSED]
    assert sum(one.score for one in first.classes) == pytest.approx(1.0)
    assert [one.score for one in second.classes] == [0.0, 0.0, 1.0]
    asked = regression_pb2.RegressionRequest()
    asked.model_spec.signature_name = "regress"
    asked.input.CopyFrom(request.input)
    values = [one.value for one in stub.Regress(asked).result.regressions]
    assert values[0] > 0.1 and values[1] == pytest.approx(0.01)


def test_each_interface_refuses_a_signature_of_another(stub):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.signature_name = "serving_default"
    with pytest.raises(grpc.RpcError, match="to have the method"):
        stub.Classify(request)


def as_tensors(body: dict, signature) -> dict:
    """Tensors of a REST request in the row or in the column format."""
    specs = signature.structured_input_signature[1]
    if "instances" in body:
        rows = body["instances"]
        if not isinstance(rows[0], dict):
            rows = [{next(iter(specs)): row} for row in rows]
        columns = {name: [row[name] for row in rows] for name in specs}
    else:
        columns = body["inputs"]
        if not isinstance(columns, dict):
            columns = {next(iter(specs)): columns}
    return {
        name: tf.constant(columns[name], spec.dtype) for name, spec in specs.items()
    }


def as_rows(outputs: dict) -> list[dict]:
    """Outputs as the row format shows them: one object for each."""
    columns = {
        name: np.char.decode(value.numpy().astype(bytes)).tolist()
        if value.dtype == tf.string
        else value.numpy().tolist()
        for name, value in outputs.items()
    }
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]


def test_rows_and_columns_of_json_give_the_same_strict_json(table_export):
    loaded = tf.saved_model.load(str(table_export.path))
    cells = {"age": ["41", "", "oops"], "city": ["Wien", "", "Graz"]}
    cells["when"] = ["1700000000000", "1700000000000", ""]
    rows = [
        dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)
    ]
    answers = []
    for body in ({"instances": rows}, {"inputs": cells}):
        body = json.loads(json.dumps(body, allow_nan=False))
        signature = loaded.signatures["text"]
        found = as_rows(signature(**as_tensors(body, signature)))
        answers.append(json.dumps(found, allow_nan=False))
    assert answers[0] == answers[1]
    reasons = [row["reason"] for row in json.loads(answers[0])]
    assert reasons[2] == "cannot be read: age" and len(reasons) == 3


def test_a_row_of_pixels_is_an_instance(digits_export):
    loaded = tf.saved_model.load(str(digits_export.path))
    signature = loaded.signatures["serving_default"]
    body = json.loads(json.dumps({"instances": digits_export.rows[:2].tolist()}))
    first, second = as_rows(signature(**as_tensors(body, signature)))
    expected = digits_export.detector.predict(digits_export.rows[:2])
    assert [first["label"], second["label"]] == [
        label.decode() for label in expected["label"]
    ]


C_PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>

static TF_Output place(TF_Graph* graph, char* name) {
  char* colon = strrchr(name, ':');
  *colon = 0;
  TF_Output found = {TF_GraphOperationByName(graph, name), atoi(colon + 1)};
  return found;
}

int main(int count, char** words) {
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(
      options, NULL, words[1], tags, 1, graph, NULL, status);
  if (TF_GetCode(status) != TF_OK) return puts(TF_Message(status)), 1;
  int64_t shape[] = {1, 8, 8, 1};
  TF_Tensor* pixels = TF_AllocateTensor(TF_UINT8, shape, 4, 64);
  unsigned char* values = TF_TensorData(pixels);
  for (int i = 0; i < 64; i++) values[i] = atoi(words[4 + i]);
  TF_Output input = place(graph, words[2]), output = place(graph, words[3]);
  TF_Tensor* energy = NULL;
  TF_SessionRun(session, NULL, &input, &pixels, 1, &output, &energy, 1, NULL, 0, NULL,
                status);
  if (TF_GetCode(status) != TF_OK) return puts(TF_Message(status)), 1;
  printf("%.9g\n", *(float*)TF_TensorData(energy));
  return 0;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_process_without_python_gets_the_same_energy(digits_export, tmp_path):
    folder = Path(tf.sysconfig.get_lib())
    (tmp_path / "ask.c").write_text(C_PROGRAM)
    libraries = ["libtensorflow_cc.so.2", "libtensorflow_framework.so.2"]
    subprocess.run(
        ["cc", "ask.c", "-o", "ask", f"-I{tf.sysconfig.get_include()}", f"-L{folder}"]
        + [f"-l:{name}" for name in libraries]
        + [f"-Wl,-rpath,{folder}"],
        cwd=tmp_path,
        check=True,
        timeout=300,
    )
    signature = definitions(digits_export.path)["serving_default"]
    image = digits_export.rows[0]
    process = subprocess.run(
        ["./ask", str(digits_export.path), signature.inputs["inputs"].name]
        + [signature.outputs["energy"].name]
        + [str(pixel) for pixel in image.ravel()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    expected = digits_export.detector.predict(image[None])["energy"][0]
    assert float(process.stdout) == pytest.approx(float(expected), rel=1e-5)
