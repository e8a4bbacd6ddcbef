# -DFA_SANITIZE=address,undefined or -DFA_SANITIZE=thread; empty for none.
set(FA_SANITIZE "" CACHE STRING "sanitizers for the C tests, comma-separated")
if(FA_SANITIZE)
  add_compile_options(-fsanitize=${FA_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g -O1)
  add_link_options(-fsanitize=${FA_SANITIZE})
  if(FA_SANITIZE MATCHES "thread")
    # gcc expands a small memcpy inline without TSAN's instrumentation; without this the check sees nothing.
    add_compile_options(-fno-builtin-memcpy)
  endif()
endif()
