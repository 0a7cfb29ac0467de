// What has to hold before the SDK is loaded: import this first.

// The SDK is written for Node 22 and browsers of today; this is all that it misses in Node 20.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new this((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
};

// Standard output carries answers to the test, so what is logged goes elsewhere.
for (const level of ["debug", "info", "log", "trace"]) console[level] = () => {};
console.warn = console.error;
