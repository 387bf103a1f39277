// What each group of system calls adds to the addon's exports.
#pragma once

#include <napi.h>

namespace tare {

void InitBpf(Napi::Env env, Napi::Object exports);
void InitFileQueue(Napi::Env env, Napi::Object exports);
void InitFs(Napi::Env env, Napi::Object exports);
void InitHashThread(Napi::Env env, Napi::Object exports);
void InitMount(Napi::Env env, Napi::Object exports);
void InitNamespaces(Napi::Env env, Napi::Object exports);
void InitNetlink(Napi::Env env, Napi::Object exports);
void InitProcess(Napi::Env env, Napi::Object exports);
void InitSeccomp(Napi::Env env, Napi::Object exports);
void InitSocket(Napi::Env env, Napi::Object exports);
void InitTerminal(Napi::Env env, Napi::Object exports);
void InitWatch(Napi::Env env, Napi::Object exports);
void InitWholeFile(Napi::Env env, Napi::Object exports);

}  // namespace tare
