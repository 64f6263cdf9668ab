/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file startup.c
 * Starts Python inside the host, once, in the environment that holds the plugin.
 *
 * Python is never finalized: numpy and torch cannot be started twice, and the end of the process is the host's affair.
 * No signal handler, locale or standard stream of the host is touched, and the command line is not read.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "build_config.h"
#include "internal.h"

#define TEXT(number) #number
#define NUMBER(macro) TEXT(macro)
/** Minor version that the library was compiled for, such as "3.11". */
#define PYTHON_VERSION NUMBER(PY_MAJOR_VERSION) "." NUMBER(PY_MINOR_VERSION)

static int refuse(char *message, size_t length, const char *sentence, ...)
{
    va_list values;

    va_start(values, sentence);
    vsnprintf(message, length, sentence, values);
    va_end(values);
    return COUPLER_ERROR_STARTUP;
}

/* -------------------------------------------------------------------------------------------- which interpreter? */

static int is_program(const char *path)
{
    return access(path, X_OK) == 0;
}

/* Drop the last part of a path. */
static void to_parent(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash) *slash = '\0';
}

/* The file that holds a function, with symbolic links resolved. */
static int file_of(void *function, char path[PATH_MAX])
{
    Dl_info info;
    return dladdr(function, &info) && realpath(info.dli_fname, path);
}

/* Is `path` below <root>/lib*? With `versioned`: below <root>/lib.../pythonX.Y? */
static int lies_in_environment(const char *path, const char *root)
{
    char folder[PATH_MAX];
    size_t length = strlen(root);

    if (strncmp(path + length, "/lib", 4) != 0) return 0;
    snprintf(folder, sizeof folder, "%.*s/lib/python" PYTHON_VERSION, (int)length, root);
    return access(folder, F_OK) == 0;
}

/* The interpreter of the environment in which this library is installed: <root>/bin/python3 for a library below
 * <root>/lib, walking up from the library. */
static int find_own_interpreter(char interpreter[PATH_MAX])
{
    char library[PATH_MAX], root[PATH_MAX];

    if (!file_of((void *)(uintptr_t)&coupler_init, library)) return 0;
    strcpy(root, library);
    for (to_parent(root); *root; to_parent(root)) {
        if (!lies_in_environment(library, root)) continue;
        if (snprintf(interpreter, PATH_MAX, "%s/bin/python3", root) < PATH_MAX && is_program(interpreter)) return 1;
    }
    return 0;
}

static int choose_interpreter(char interpreter[PATH_MAX], char *message, size_t length)
{
    const char *named = getenv("COUPLER_PLUGIN_PYTHON");

    if (named && *named) {
        if (!is_program(named) || snprintf(interpreter, PATH_MAX, "%s", named) >= PATH_MAX)
            return refuse(message, length,
                          "Python did not start: COUPLER_PLUGIN_PYTHON is '%s', which is not a program that can be run. "
                          "Set it to the interpreter of the environment that holds coupler_plugin, such as "
                          "/path/to/venv/bin/python3, or unset it.",
                          named);
        return COUPLER_OK;
    }
    if (find_own_interpreter(interpreter)) return COUPLER_OK;
    if (is_program(COUPLER_BUILD_INTERPRETER)) {
        strcpy(interpreter, COUPLER_BUILD_INTERPRETER);
        return COUPLER_OK;
    }
    return refuse(message, length,
                  "Python did not start: the library lies in no Python environment, and the interpreter that it was "
                  "built with, '%s', is gone. Set COUPLER_PLUGIN_PYTHON to a Python %s that holds coupler_plugin.",
                  COUPLER_BUILD_INTERPRETER, PYTHON_VERSION);
}

/* An interpreter of another version would start with the wrong standard library, so this is found out before: it must
 * have lib/pythonX.Y beside its bin, itself or after its symbolic links. */
static int check_interpreter(const char *interpreter, char *message, size_t length)
{
    char root[PATH_MAX], library[PATH_MAX + sizeof "/lib/python" PYTHON_VERSION];

    for (int resolved = 0; resolved < 2; resolved++) {
        if (!resolved)
            strcpy(root, interpreter);
        else if (!realpath(interpreter, root))
            break;
        to_parent(root);
        to_parent(root);
        snprintf(library, sizeof library, "%s/lib/python" PYTHON_VERSION, root);
        if (access(library, F_OK) == 0) return COUPLER_OK;
    }
    return refuse(message, length,
                  "Python did not start: '%s' is not a Python %s, for which libcoupler_plugin was built "
                  "(there is no lib/python%s beside its bin). Name a Python %s in COUPLER_PLUGIN_PYTHON, or install "
                  "coupler_plugin again with this interpreter.",
                  interpreter, PYTHON_VERSION, PYTHON_VERSION, PYTHON_VERSION);
}

/* ------------------------------------------------------------------------------------------------ start and check */

/* What to do where a variable that is made for one Python, by a module file say, leads every other one astray. */
static const char *hint(void)
{
    return getenv("PYTHONHOME") ? " PYTHONHOME is set: unset it, unless it is the home of this very Python." : "";
}

/* PYTHONWARNINGS may make errors of warnings, for programs that are tested: a library that warns must not end a host. */
static const char *const print_warnings =
    "import warnings\n"
    "if any(action == 'error' for action, *_ in warnings.filters):\n"
    "    warnings.simplefilter('default')\n";

static int start_interpreter(const char *interpreter, char *message, size_t length)
{
    PyPreConfig before;
    PyConfig config;
    PyStatus status;

    PyPreConfig_InitPythonConfig(&before);
    before.parse_argv = 0;
    before.configure_locale = 0; /* the host's locale stays as it is ... */
    before.coerce_c_locale = 0;
    before.utf8_mode = 1;        /* ... and Python reads paths as UTF-8 whatever it says */
    status = Py_PreInitialize(&before);

    if (!PyStatus_Exception(status)) {
        PyConfig_InitPythonConfig(&config);
        config.parse_argv = 0;
        config.install_signal_handlers = 0;
        config.configure_c_stdio = 0;
        status = PyConfig_SetBytesString(&config, &config.program_name, interpreter);
        if (!PyStatus_Exception(status)) status = PyConfig_SetBytesString(&config, &config.executable, interpreter);
        if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
        PyConfig_Clear(&config);
    }
    if (PyStatus_Exception(status))
        return refuse(message, length, "Python did not start with the interpreter '%s': %s.%s", interpreter,
                      status.err_msg ? status.err_msg : "it wanted to exit", hint());
    PyRun_SimpleString(print_warnings);
    PyEval_SaveThread(); /* the lock is free while the host computes */
    return COUPLER_OK;
}

/* The exception that Python has just raised, taken from it; its traceback goes to standard error. */
static PyObject *take_exception(void)
{
    PyObject *error;

#if PY_VERSION_HEX >= 0x030c0000
    error = PyErr_GetRaisedException();
    if (error) PyErr_DisplayException(error);
#else
    PyObject *type, *traceback;

    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (error) PyErr_Display(type, error, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
#endif
    return error;
}

/* Its sentence. */
static void describe_exception(char *text, size_t length)
{
    PyObject *error = take_exception(), *string = error ? PyObject_Str(error) : NULL;
    const char *words = string ? PyUnicode_AsUTF8(string) : NULL;

    snprintf(text, length, "%s: %s", error ? Py_TYPE(error)->tp_name : "an error", words ? words : "no text");
    PyErr_Clear();
    Py_XDECREF(string);
    Py_XDECREF(error);
}

/* A plain `cmake --install` puts the package beside the library: <folder of the library>/pythonX.Y/site-packages. */
static void add_own_packages(void)
{
    char packages[PATH_MAX], *end = packages;
    PyObject *path = PySys_GetObject("path"), *entry;

    if (!file_of((void *)(uintptr_t)&coupler_init, packages)) return;
    to_parent(packages);
    end += strlen(packages);
    snprintf(end, (size_t)(packages + PATH_MAX - end), "/python" PYTHON_VERSION "/site-packages/coupler_plugin");
    if (access(packages, F_OK) != 0) return;
    to_parent(packages);
    entry = PyUnicode_DecodeFSDefault(packages);
    if (path && entry && !PySequence_Contains(path, entry)) PyList_Insert(path, 0, entry);
    Py_XDECREF(entry);
    PyErr_Clear();
}

/* Import everything that a step needs, and let Python check what fits: `check` answers None or a sentence. */
static int import_plugin(const char *libpython, char *message, size_t length)
{
    char text[2048];
    PyObject *module, *answer = NULL, *executable = PySys_GetObject("executable");
    int status = COUPLER_OK;

    add_own_packages();
    module = PyImport_ImportModule("coupler_plugin.bridge.startup");
    if (module) answer = PyObject_CallMethod(module, "check", "iss", COUPLER_ABI_VERSION, COUPLER_VERSION, libpython);
    if (!answer) {
        describe_exception(text, sizeof text);
        status = refuse(message, length,
                        "Python started (%s), but coupler_plugin could not be imported there: %s. Install "
                        "coupler_plugin in that environment, or name the right interpreter in COUPLER_PLUGIN_PYTHON.%s",
                        executable && PyUnicode_Check(executable) ? PyUnicode_AsUTF8(executable) : "inside the host",
                        text, hint());
    } else if (PyUnicode_Check(answer)) {
        status = refuse(message, length, "%s", PyUnicode_AsUTF8(answer));
    }
    Py_XDECREF(answer);
    Py_XDECREF(module);
    return status;
}

static int start(char *message, size_t length)
{
    char interpreter[PATH_MAX] = "", libpython[PATH_MAX] = "";
    const char *version = Py_GetVersion(); /* may be asked before Python starts: "3.11.7 (main, ..." */
    PyGILState_STATE lock;
    int status;

    if (!file_of((void *)(uintptr_t)&Py_GetVersion, libpython)) strcpy(libpython, "an unknown file");
    if (strncmp(version, PYTHON_VERSION ".", strlen(PYTHON_VERSION ".")) != 0)
        return refuse(message, length,
                      "Python does not fit: libcoupler_plugin was built for Python %s, but this process runs Python %s "
                      "(%s). Install coupler_plugin with that Python, or see that the other libpython is not loaded.",
                      PYTHON_VERSION, version, libpython);

    if (!Py_IsInitialized()) {
        status = choose_interpreter(interpreter, message, length);
        if (status == COUPLER_OK) status = check_interpreter(interpreter, message, length);
        if (status != COUPLER_OK) return status;
        /* Extension modules are not linked with libpython and look for its symbols among the global ones. */
        dlopen(libpython, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
        status = start_interpreter(interpreter, message, length);
        if (status != COUPLER_OK) return status;
    }

    lock = PyGILState_Ensure();
    status = import_plugin(libpython, message, length);
    PyGILState_Release(lock);
    if (status == COUPLER_OK && coupler_start_embedding() != 0)
        return refuse(message, length,
                      "Python started, but cffi could not connect it to libcoupler_plugin; the reason stands on standard "
                      "error. Install coupler_plugin again in this environment, with the cffi that is there now.");
    return status;
}

int coupler_start(char *message, size_t length)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static int started;
    int status = COUPLER_OK;

    pthread_mutex_lock(&mutex);
    if (!started) status = start(message, length);
    started = status == COUPLER_OK;
    pthread_mutex_unlock(&mutex);
    return status;
}
