# The warnings that our own C is compiled with; any of them is an error in the stand-alone build.
function(fa_strict target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes
                                           -Wmissing-prototypes -Wpointer-arith -Wcast-align)
  if(FA_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()
