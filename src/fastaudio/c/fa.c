#include "fa.h"

const char *fa_result_text(fa_result_t result) {
  switch (result) {
    case FA_OK: return "ok";
    case FA_AGAIN: return "again";
    case FA_ERR_ARG: return "argument out of range";
    case FA_ERR_NOMEM: return "out of memory";
    case FA_ERR_OS: return "system call failed";
    case FA_ERR_STALE: return "generation was flushed";
    case FA_ERR_NO_VAD: return "the WebRTC voice-activity functions are not loaded";
    case FA_ERR_PROTO: return "protocol error";
  }
  return "unknown result";
}

const char *fa_end_text(fa_end_t reason) {
  static const char *const texts[FA_END_REASONS] = {
      [FA_END_NONE] = "none",
      [FA_END_CALLER] = "caller",
      [FA_END_AGENT] = "agent",
      [FA_END_PEER_HANGUP] = "peer_hangup",
      [FA_END_PEER_ERROR] = "peer_error",
      [FA_END_NOT_UUID] = "not_uuid",
      [FA_END_BAD_KIND] = "bad_kind",
      [FA_END_BAD_LENGTH] = "bad_length",
      [FA_END_SECOND_UUID] = "second_uuid",
      [FA_END_NOT_READING] = "not_reading",
      [FA_END_SOCKET] = "socket_error",
      [FA_END_STOPPED] = "stopped",
      [FA_END_NO_UUID] = "no_uuid",
      [FA_END_FULL] = "full",
      [FA_END_PEER_REFUSED] = "peer_refused",
      [FA_END_PENDING_FULL] = "pending_full",
      [FA_END_NO_PROXY] = "no_proxy",
      [FA_END_PROXY_V1] = "proxy_v1",
      [FA_END_BAD_PROXY] = "bad_proxy",
  };
  return (reason >= 0 && reason < FA_END_REASONS) ? texts[reason] : "unknown";
}
