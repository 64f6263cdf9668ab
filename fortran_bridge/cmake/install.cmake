# SPDX-License-Identifier: Apache-2.0
# What is installed where; every path is relative to the prefix, so that the whole can be moved.
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/coupler_plugin)

install(TARGETS ${libraries} EXPORT coupler_plugin LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/coupler_plugin.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(COUPLER_PLUGIN_FORTRAN)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/module/coupler_plugin.mod DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endif()
# A .mod file is read only by the compiler that wrote it; others compile these two into their host.
install(FILES src/coupler_plugin.f90 src/descriptor.c DESTINATION ${CMAKE_INSTALL_DATADIR}/coupler_plugin)

# ---- CMake: find_package(coupler_plugin), targets coupler_plugin::fortran and coupler_plugin::c
install(EXPORT coupler_plugin NAMESPACE coupler_plugin:: FILE coupler_pluginTargets.cmake DESTINATION ${package_dir})
configure_package_config_file(cmake/coupler_pluginConfig.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/coupler_pluginConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/coupler_pluginConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/coupler_pluginConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/coupler_pluginConfigVersion.cmake DESTINATION ${package_dir})

# ---- pkg-config: coupler_plugin (C) and coupler_plugin_fortran
file(RELATIVE_PATH way_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /) # more than two folders up from lib/x86_64-linux-gnu
foreach(name coupler_plugin coupler_plugin_fortran)
  if(name STREQUAL "coupler_plugin" OR COUPLER_PLUGIN_FORTRAN)
    configure_file(cmake/${name}.pc.in ${name}.pc @ONLY)
    install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
  endif()
endforeach()

# ---- the Python package; scikit-build-core packs it itself
if(NOT SKBUILD)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/coupler_plugin
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/python${Python_VERSION_MAJOR}.${Python_VERSION_MINOR}/site-packages
    PATTERN __pycache__ EXCLUDE)
endif()
