# cython: language_level=3, boundscheck=True, wraparound=False, freethreading_compatible=False
"""Thin shell over the C core: validate, call, convert errors. No algorithm lives here."""

import importlib.util
import ipaddress

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pythread cimport PyThread_get_thread_ident
from libc.errno cimport errno
from libc.stdlib cimport free
from libc.string cimport memcpy, memset
from posix.dlfcn cimport RTLD_NOW, dlopen, dlsym

from fastaudio.errors import EngineBusy, EngineClosed, FastAudioError, ProtocolError, StaleGeneration

DETECTORS = {"rms": FA_DETECT_RMS, "webrtc": FA_DETECT_WEBRTC, "rms+webrtc": FA_DETECT_RMS_WEBRTC,
             "adaptive": FA_DETECT_ADAPTIVE}
STATES = ("idle", "hold", "resume", "barge_in")
END_REASONS = tuple(fa_end_text(<fa_end_t>i).decode() for i in range(FA_END_REASONS))
HISTOGRAM_BOUNDS_US = tuple(fa_histogram_bound_us(i) for i in range(FA_HISTOGRAM_BUCKETS))

cdef fa_webrtc_t webrtc_functions
cdef const fa_webrtc_t *webrtc = NULL


cdef int check(fa_result_t result) except -1:
    """The one converter from C's results to exceptions; 0 for ok and for "again"."""
    if result == FA_OK or result == FA_AGAIN:
        return 0
    text = fa_result_text(result).decode()
    if result == FA_ERR_ARG:
        raise ValueError(text)
    if result == FA_ERR_NOMEM:
        raise MemoryError(text)
    if result == FA_ERR_OS:
        raise OSError(errno, text)
    if result == FA_ERR_STALE:
        raise StaleGeneration(text)
    raise FastAudioError(text)


cdef const fa_webrtc_t *load_webrtc() except? NULL:
    """Finds WebRTC's functions in the installed `_webrtcvad` extension, which exports them."""
    global webrtc
    if webrtc != NULL:
        return webrtc
    spec = importlib.util.find_spec("_webrtcvad")
    if spec is None or spec.origin is None:
        raise FastAudioError("the WebRTC detector needs the package webrtcvad-wheels: pip install webrtcvad-wheels")
    path = spec.origin.encode()
    cdef void *library = dlopen(path, RTLD_NOW)
    if library == NULL:
        raise FastAudioError(f"cannot load {spec.origin}; reinstall webrtcvad-wheels")
    cdef void *symbols[5]
    names = (b"WebRtcVad_Create", b"WebRtcVad_Free", b"WebRtcVad_Init", b"WebRtcVad_set_mode", b"WebRtcVad_Process")
    for i, name in enumerate(names):
        symbols[i] = dlsym(library, name)
        if symbols[i] == NULL:
            raise FastAudioError(f"{spec.origin} does not export {name.decode()}; install webrtcvad-wheels>=2.0.14")
    memcpy(&webrtc_functions.create, &symbols[0], sizeof(void *))
    memcpy(&webrtc_functions.free, &symbols[1], sizeof(void *))
    memcpy(&webrtc_functions.init, &symbols[2], sizeof(void *))
    memcpy(&webrtc_functions.set_mode, &symbols[3], sizeof(void *))
    memcpy(&webrtc_functions.process, &symbols[4], sizeof(void *))
    webrtc = &webrtc_functions
    return webrtc


# One extension, so that its parts share the C structures; one file for each part.
include "_core_units.pxi"
include "_core_call.pxi"
include "_core_engine.pxi"
