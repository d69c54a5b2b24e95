# deepcompress_model(TARGET MODEL net.pt [NAME net] [OPTION value]...)
#
# Compresses a PyTorch network and links it into TARGET, usually `app`, which may then include
# "net.h", or from C++ <DeepCompress.h>. Each OPTION is one of docs/options.md, in capitals:
#
#     deepcompress_model(app MODEL models/lenet5.pt CALIBRATION data/calibration.npz SPARSITY 0.8)
#
# Paths are relative to the application. The network is compiled again if its .pt, its data, its
# options or the compiler have changed; results are kept across pristine builds.

include_guard(GLOBAL)

cmake_policy(PUSH)
cmake_policy(SET CMP0079 NEW) # the target may be of another folder
cmake_policy(SET CMP0116 NEW) # paths in a depfile are relative to the folder of the command

function(deepcompress_model target)
  if(DEFINED PIO_PACKAGES_DIR)
    return() # PlatformIO runs no CMake command; the library's extra script compiles the model.
  endif()
  if(NOT CONFIG_DEEPCOMPRESS)
    message(FATAL_ERROR "deepcompress_model() needs CONFIG_DEEPCOMPRESS=y in prj.conf")
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "MODEL;NAME" "")
  if(NOT arg_MODEL)
    message(FATAL_ERROR "deepcompress_model() needs the model's file: MODEL net.pt")
  endif()
  if("${arg_NAME}" STREQUAL "")
    string(REGEX REPLACE "^[\"']|[\"']$" "" file "${arg_MODEL}") # quotes of prj.conf
    deepcompress_name("${file}" arg_NAME)
  endif()
  if(NOT "${arg_NAME}" MATCHES "^[A-Za-z][A-Za-z0-9_]*$")
    message(FATAL_ERROR "deepcompress_model(): '${arg_NAME}' cannot be a name in C and C++. Give the "
                        "model another one, of letters, digits and underscores: NAME net")
  endif()
  set(options)
  while(arg_UNPARSED_ARGUMENTS)
    list(POP_FRONT arg_UNPARSED_ARGUMENTS option value)
    if(NOT DEFINED value)
      message(FATAL_ERROR "deepcompress_model(): ${option} has no value")
    endif()
    string(TOLOWER ${option} option)
    list(APPEND options ${option}=${value})
  endwhile()

  set(folder ${CMAKE_CURRENT_BINARY_DIR}/deepcompress/${arg_NAME})
  set(sources ${folder}/${arg_NAME}.c ${folder}/${arg_NAME}.h ${folder}/${arg_NAME}.hpp
              ${folder}/${arg_NAME}_weights.h)
  deepcompress_store(store)
  deepcompress_board(board)
  add_custom_command(
    OUTPUT ${sources}
    COMMAND ${PYTHON_EXECUTABLE} ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/generate.py
            --folder ${APPLICATION_SOURCE_DIR} --output ${folder} --store ${store} ${board}
            ${arg_NAME} "${arg_MODEL}" ${options}
    DEPFILE ${folder}.d
    COMMENT "deepcompress: ${arg_NAME}"
    USES_TERMINAL VERBATIM)

  # Optimised whatever the optimisation of the application.
  if("optimize=size" IN_LIST options)
    set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS -Os)
  else()
    set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS -O2)
  endif()
  add_library(deepcompress_${arg_NAME} STATIC ${sources})
  target_include_directories(deepcompress_${arg_NAME} PUBLIC ${folder})
  target_link_libraries(deepcompress_${arg_NAME} PUBLIC zephyr_interface)
  if(CMAKE_C_COMPILER_ID STREQUAL GNU)
    # Zephyr links this library after libgcc, whose float functions it needs without an FPU.
    target_link_libraries(deepcompress_${arg_NAME} PUBLIC gcc)
  endif()
  target_link_libraries(${target} PRIVATE deepcompress_${arg_NAME})
  deepcompress_models_header(${target} ${arg_NAME})
endfunction()

# A model's name in C from its file, as far as CMake can: generate.py checks it.
function(deepcompress_name file variable)
  get_filename_component(name "${file}" NAME_WE)
  if(name MATCHES "[^ -~]")
    message(FATAL_ERROR "deepcompress_model(): the file's name, '${name}', has letters that C does "
                        "not. Give the model a name: NAME net")
  endif()
  string(REGEX REPLACE "[^A-Za-z0-9_]" "_" name "${name}")
  string(REGEX REPLACE "^_+|_+$" "" name "${name}")
  string(REGEX REPLACE "^([0-9])" "model_\\1" name "${name}")
  set(${variable} "${name}" PARENT_SCOPE)
endfunction()

# The model that Kconfig names: each CONFIG_DEEPCOMPRESS_... that is set is an argument.
function(deepcompress_kconfig_model target)
  get_cmake_property(variables VARIABLES)
  set(arguments)
  foreach(variable IN LISTS variables)
    if(variable MATCHES "^CONFIG_DEEPCOMPRESS_(.+)$" AND NOT "${${variable}}" STREQUAL "")
      list(APPEND arguments ${CMAKE_MATCH_1})
      string(REGEX REPLACE "^y$" "yes" value "${${variable}}")
      list(APPEND arguments "${value}")
    endif()
  endforeach()
  deepcompress_model(${target} ${arguments})
endfunction()

# DeepCompressModels.h, by which <DeepCompress.h> finds the classes of all models of a target.
function(deepcompress_models_header target name)
  set_property(GLOBAL APPEND PROPERTY DEEPCOMPRESS_MODELS_${target} ${name})
  get_property(names GLOBAL PROPERTY DEEPCOMPRESS_MODELS_${target})
  list(TRANSFORM names REPLACE "(.+)" "#include \"\\1.hpp\"\n")
  list(JOIN names "" text)
  set(folder ${CMAKE_BINARY_DIR}/deepcompress/${target})
  file(CONFIGURE OUTPUT ${folder}/DeepCompressModels.h CONTENT "${text}" @ONLY)
  target_include_directories(${target} PRIVATE ${folder})
endfunction()

# Where an application's results are kept: outside the build folder, which `west build -p` deletes.
function(deepcompress_store variable)
  string(MD5 application ${APPLICATION_SOURCE_DIR})
  set(${variable} ${USER_CACHE_DIR}/deepcompress/${application}/results PARENT_SCOPE)
endfunction()

# The board, as arguments of generate.py. A PC has no limits.
function(deepcompress_board variable)
  set(board --cpu host)
  if(NOT CONFIG_ARCH_POSIX)
    string(REGEX REPLACE "\\+.*" "" cpu "${GCC_M_CPU}") # such as cortex-m33+nodsp
    set(board --cpu "${cpu}")
    foreach(memory flash sram)
      deepcompress_bytes_of(${memory} bytes)
      if(bytes)
        string(REPLACE sram ram limit ${memory})
        list(APPEND board --${limit}-limit ${bytes})
      endif()
    endforeach()
  endif()
  set(${variable} ${board} PARENT_SCOPE)
endfunction()

# The size of the board's flash or sram: Kconfig's, or the devicetree's, because Zephyr 4.5 deprecates
# CONFIG_SRAM_SIZE. Empty if neither states it.
function(deepcompress_bytes_of memory variable)
  set(bytes)
  string(TOUPPER CONFIG_${memory}_SIZE kilobytes)
  if(${kilobytes})
    math(EXPR bytes "${${kilobytes}} * 1024")
  elseif(NOT DEFINED ${kilobytes} AND COMMAND dt_chosen)
    dt_chosen(node PROPERTY "zephyr,${memory}")
    if(node)
      dt_reg_size(bytes PATH ${node})
    endif()
  endif()
  set(${variable} ${bytes} PARENT_SCOPE)
endfunction()

cmake_policy(POP)
