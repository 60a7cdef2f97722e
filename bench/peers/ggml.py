"""ggml and llama.cpp as node-llama-cpp ships them, called through ctypes: the library itself, without what JavaScript adds. What is
declared here are the functions that the two programs beside it use; structures whose fields nobody here sets are blocks of bytes, as a
caller's copy may be larger than what the callee reads.
"""
import ctypes as c
import glob
import json
import os
import platform

here = os.path.dirname(os.path.abspath(__file__))
machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
package = os.path.join(here, "node_modules", "@node-llama-cpp", f"linux-{machine}")
folder = os.path.join(package, "bins", f"linux-{machine}")
build = json.load(open(os.path.join(folder, "_nlcBuildMetadata.json")))
version = build["buildOptions"]["llamaCpp"]["release"]


def load(pattern):
    found = sorted(glob.glob(os.path.join(folder, pattern)))
    return c.CDLL(found[0], mode=c.RTLD_GLOBAL)


base, ggml = load("libggml-base.so"), load("libggml.v*.so")


class Params(c.Structure):
    _fields_ = [("mem_size", c.c_size_t), ("mem_buffer", c.c_void_p), ("no_alloc", c.c_bool)]


def declare(library, name, result, *arguments):
    f = getattr(library, name)
    f.restype, f.argtypes = result, list(arguments)
    return f


p, i64, size = c.c_void_p, c.c_int64, c.c_size_t
init = declare(base, "ggml_init", p, Params)
tensor_2d = declare(base, "ggml_new_tensor_2d", p, p, c.c_int, i64, i64)
mul_mat = declare(base, "ggml_mul_mat", p, p, p, p)
new_graph = declare(base, "ggml_new_graph", p, p)
expand = declare(base, "ggml_build_forward_expand", None, p, p)
nbytes = declare(base, "ggml_nbytes", size, p)
tensor_set = declare(base, "ggml_backend_tensor_set", None, p, p, size, size)
tensor_get = declare(base, "ggml_backend_tensor_get", None, p, p, size, size)
allocate = declare(base, "ggml_backend_alloc_ctx_tensors", p, p, p)
allocate_from = declare(base, "ggml_backend_alloc_ctx_tensors_from_buft", p, p, p)
compute = declare(base, "ggml_backend_graph_compute", c.c_int, p, p)
free_buffer = declare(base, "ggml_backend_buffer_free", None, p)
free_context = declare(base, "ggml_free", None, p)
supports = declare(base, "ggml_backend_dev_supports_op", c.c_bool, p, p)
device_registry = declare(base, "ggml_backend_dev_backend_reg", p, p)
address = declare(base, "ggml_backend_reg_get_proc_address", p, p, c.c_char_p)
buffer_type_name = declare(base, "ggml_backend_buft_name", c.c_char_p, p)
device_init = declare(base, "ggml_backend_dev_init", p, p, c.c_char_p)
load_one = declare(ggml, "ggml_backend_load", p, c.c_char_p)
load_all = declare(ggml, "ggml_backend_load_all_from_path", None, c.c_char_p)
device_by_type = declare(ggml, "ggml_backend_dev_by_type", p, c.c_int)

# enum ggml_type
types = {"f32": 0, "q4_0": 2, "q8_0": 8, "q4_k": 12, "bf16": 30}

# The best build for this processor of those in the folder, or the one for AVX2.
if os.environ.get("SINAN_PEERS_ISA") == "avx2":
    load_one(os.path.join(folder, "libggml-cpu-haswell.so").encode())
else:
    load_all(folder.encode())
cpu = device_by_type(0)
registry = device_registry(cpu)


def backend(threads):
    """The processor with so many threads."""
    made = device_init(cpu, None)
    c.CFUNCTYPE(None, p, c.c_int)(address(registry, b"ggml_backend_set_n_threads"))(made, threads)
    return made


def extra_buffer_types():
    """Layouts into which weights can be repacked as they are loaded, which llama.cpp does where a format has one."""
    get = address(registry, b"ggml_backend_dev_get_extra_bufts")
    if not get:
        return []
    found = c.CFUNCTYPE(c.POINTER(p), p)(get)(cpu)
    out, i = [], 0
    while found and found[i]:
        out.append(found[i])
        i += 1
    return out


def context(tensors):
    return init(Params(tensors * 512 + 2**20, None, True))
