# node-gyp's build of the sources that CMakeLists.txt builds: the CPU addon, for
# prebuildify and for users who build from source with node-gyp. Never published
# (npm would run node-gyp at install); native/sources.json lists the files.
{
  'targets': [{
    'target_name': 'bptt',
    'sources': [
      '<!@(node -p "const s = require(\'./native/sources.json\'); [...s.runtime, ...s.cpu, ...s.addon].join(\' \')")'
    ],
    'include_dirs': [
      'native',
      'native/include',
      '<!@(node -p "require(\'node-addon-api\').include_dir")'
    ],
    'defines': [
      'NAPI_VERSION=8',
      'NODE_ADDON_API_CPP_EXCEPTIONS',
      'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
      'NODE_ADDON_API_DISABLE_DEPRECATED'
    ],
    # common.gypi forces gnu++17 without RTTI and exceptions; the project is
    # C++20 with both.
    'cflags_cc!': ['-std=gnu++17', '-std=gnu++20', '-fno-rtti', '-fno-exceptions'],
    'cflags!': ['-fno-exceptions'],
    'cflags_cc': ['-std=c++20', '-frtti', '-fexceptions', '-O3', '-Wall', '-Wextra', '-ffp-contract=off',
                  '-fvisibility=hidden', '-fvisibility-inlines-hidden',
                  '-fstack-protector-strong', '-U_FORTIFY_SOURCE', '-D_FORTIFY_SOURCE=2'],
    'conditions': [
      ['OS=="linux"', { 'ldflags': ['-static-libstdc++', '-static-libgcc', '-Wl,--exclude-libs,ALL',
                                    '-Wl,-z,relro', '-Wl,-z,now', '-Wl,-z,noexecstack'] }],
      ['OS=="mac"', {
        'xcode_settings': {
          'CLANG_CXX_LANGUAGE_STANDARD': 'c++20',
          'GCC_ENABLE_CPP_EXCEPTIONS': 'YES',
          'GCC_ENABLE_CPP_RTTI': 'YES',
          'GCC_OPTIMIZATION_LEVEL': '3',
          'GCC_SYMBOLS_PRIVATE_EXTERN': 'YES',
          'OTHER_CFLAGS': ['-ffp-contract=off', '-fstack-protector-strong'],
          'MACOSX_DEPLOYMENT_TARGET': '11.0'
        }
      }],
      ['OS=="win"', {
        'msvs_settings': {
          'VCCLCompilerTool': {
            'ExceptionHandling': 1,
            'RuntimeTypeInfo': 'true',
            'AdditionalOptions': ['/std:c++20', '/fp:precise', '/guard:cf']
          },
          'VCLinkerTool': { 'AdditionalOptions': ['/guard:cf'] }
        }
      }]
    ]
  }]
}
