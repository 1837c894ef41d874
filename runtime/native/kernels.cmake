# The CUDA kernels, compiled ahead of time and installed beside the native modules. No GPU is needed, only a compiler:
#   auto      this machine's nvcc: on PATH, in $CUDA_HOME/bin or in /usr/local/cuda/bin. Left out where there is none.
#   release   the compiler wheels of deploy/cuda-requirements.txt: what `make wheel` ships
#   off       left out
set(JETPOSE_KERNELS "auto" CACHE STRING "CUDA kernels: auto, release or off")
set(builder ${CMAKE_CURRENT_SOURCE_DIR}/../../deploy/build_kernels.py)

function(left_out why)
  set(text "jetpose: CUDA KERNELS LEFT OUT OF THIS BUILD: ${why}. It runs on the CPU only.")
  message(WARNING "${text}")
  # pip hides what a build says unless it fails; this reaches whoever sits at the terminal.
  execute_process(COMMAND sh -c "printf '%s\\n' \"$0\" > /dev/tty" "${text}" OUTPUT_QUIET ERROR_QUIET)
endfunction()

function(install_kernels)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/kernels-${JETPOSE_KERNELS})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cuh)
  add_custom_command(OUTPUT ${out}/index.json
                     COMMAND "${Python_EXECUTABLE}" ${builder} ${out} ${ARGN}
                     DEPENDS ${builder} ${CMAKE_CURRENT_SOURCE_DIR}/kernels.cu ${sources} "${nvcc}"
                     COMMENT "CUDA kernels by ${nvcc}; JETPOSE_KERNELS=off leaves them out" VERBATIM)
  add_custom_target(jetpose_kernels ALL DEPENDS ${out}/index.json)
  install(DIRECTORY ${out}/ DESTINATION pose_runtime/kernels)
endfunction()

if(JETPOSE_KERNELS STREQUAL "off")
  left_out("JETPOSE_KERNELS is off")
elseif(JETPOSE_KERNELS STREQUAL "auto")
  execute_process(COMMAND "${Python_EXECUTABLE}" ${builder} --which-nvcc --from machine
                  OUTPUT_VARIABLE nvcc ERROR_VARIABLE why RESULT_VARIABLE failed
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_STRIP_TRAILING_WHITESPACE)
  if(failed)
    left_out("${why}")
  else()
    install_kernels(--from machine --nvcc 87 90 110 --nvrtc)
  endif()
elseif(JETPOSE_KERNELS STREQUAL "release")
  execute_process(COMMAND "${Python_EXECUTABLE}" ${builder} --which-nvcc --from wheels
                  OUTPUT_VARIABLE nvcc ERROR_VARIABLE why RESULT_VARIABLE failed OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(failed)
    message(FATAL_ERROR "JETPOSE_KERNELS=release: ${why}")
  endif()
  # sm_87 by CUDA 12.6: it loads on JetPack 6 and on JetPack 7.
  install_kernels(--from wheels --nvcc 90 110 --nvrtc 87)
else()
  message(FATAL_ERROR "JETPOSE_KERNELS: got ${JETPOSE_KERNELS}, wanted auto, release or off")
endif()
