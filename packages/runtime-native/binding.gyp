# Two products: the addon, and the static helper that becomes monitor and init of every container.
# scripts/build.mjs sets the variables; `helper_cc` is musl-gcc where the machine has it.
{
  'variables': {
    'helper_cc%': 'cc',
    'helper_sources%': '<!(ls native/helper/*.c 2>/dev/null || true)',
  },
  'targets': [
    {
      'target_name': 'tare_native',
      'sources': [
        'native/addon.cc',
        'native/bpf.cc',
        'native/file_queue.cc',
        'native/fs.cc',
        'native/hash_thread.cc',
        'native/mount.cc',
        'native/namespaces.cc',
        'native/netlink.cc',
        'native/process.cc',
        'native/seccomp.cc',
        'native/socket.cc',
        'native/terminal.cc',
        'native/watch.cc',
        'native/whole_file.cc',
      ],
      # node-addon-api's own gyp target would drop a stamp file outside this package: take its headers only
      'include_dirs': ["<!(node -p \"require('node-addon-api').include_dir\")"],
      'defines': ['NAPI_VERSION=9', 'NODE_ADDON_API_CPP_EXCEPTIONS', '_GNU_SOURCE'],
      'cflags!': ['-fno-exceptions'],
      'cflags_cc!': ['-fno-exceptions', '-fno-rtti'],
      'cflags': ['-Wall', '-Wextra', '-Wno-cast-function-type', '-fvisibility=hidden', '-O2'],
      'ldflags': ['-Wl,-z,relro', '-Wl,-z,now', '-Wl,--gc-sections'],
    },
    {
      'target_name': 'tare-init',
      'type': 'none',
      'conditions': [
        ['helper_sources!=""', {
          'actions': [
            {
              # an action and not an `executable` target: Node's common.gypi adds flags (threads, PIE, NDEBUG)
              # that a freestanding static program must not get
              'action_name': 'link the static helper',
              'inputs': ['<@(helper_sources)', '<!@(ls native/helper/*.h 2>/dev/null || true)'],
              'outputs': ['<(PRODUCT_DIR)/tare-init'],
              'action': [
                '<(helper_cc)', '-std=gnu11', '-Os', '-static',
                '-Wall', '-Wextra', '-Werror', '-Wshadow', '-Wvla', '-Wformat=2',
                '-D_GNU_SOURCE', '-D_FORTIFY_SOURCE=2', '-fstack-protector-strong', '-fno-plt',
                '-fno-asynchronous-unwind-tables', '-ffunction-sections', '-fdata-sections',
                '-Wl,--gc-sections', '-Wl,-z,relro', '-Wl,-z,now', '-Wl,-z,noexecstack', '-Wl,--build-id=none', '-s',
                '-o', '<@(_outputs)', '<@(helper_sources)',
              ],
            },
          ],
        }],
      ],
    },
  ],
}
