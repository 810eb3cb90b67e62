// Sends a recording to the server and returns its prediction.

/// An error of the server or of the connection, with a stable `code`.
export class Problem extends Error {
  constructor(code, detail = "") {
    super(detail || code);
    Object.assign(this, { code, detail });
  }
}

const MAX_TRIES = 20;

/// Request headers with the access token, if any.
export const headers = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

const upload = (recording, address, token, onProgress, signal) =>
  new Promise((resolve, reject) => {
    // `fetch` reports no upload progress.
    const request = new XMLHttpRequest();
    request.open("POST", address);
    for (const [name, value] of Object.entries(headers(token))) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", ({ loaded, total }) => total && loaded < total && onProgress("sending", loaded / total));
    request.upload.addEventListener("load", () => onProgress("analysing"));
    request.addEventListener("error", () => reject(new Problem("offline")));
    request.addEventListener("abort", () => reject(new Problem("cancelled")));
    request.addEventListener("load", () => {
      let body = null;
      try {
        body = JSON.parse(request.responseText);
      } catch {
        // The response may come from a proxy.
      }
      const { status } = request;
      if (status === 200 && Array.isArray(body?.instruments)) resolve(body);
      else if (status === 503) reject(Object.assign(new Problem("full", body?.detail), { after: Number(request.getResponseHeader("Retry-After")) || 2 }));
      else reject(new Problem(body?.code ?? "unexpected", body?.detail));
    });
    signal.addEventListener("abort", () => request.abort());
    const form = new FormData();
    form.append("file", recording.blob, recording.name);
    request.send(form);
  });

/// The prediction of the server. Calls `onProgress` with `sending` and a share, `analysing`, or `busy` and seconds. Retries after
/// `Retry-After` when the server is full.
export const predict = async (recording, { model, token }, onProgress, signal) => {
  const address = `/api/v1/predict${model ? `?model=${encodeURIComponent(model)}` : ""}`;
  for (let tries = 1; ; tries++) {
    if (signal.aborted) throw new Problem("cancelled");
    onProgress("analysing");
    try {
      return await upload(recording, address, token, onProgress, signal);
    } catch (problem) {
      if (!(problem.after && tries < MAX_TRIES)) throw problem;
      onProgress("busy", problem.after);
      await new Promise((go) => {
        const timer = setTimeout(go, 1000 * problem.after);
        signal.addEventListener("abort", () => (clearTimeout(timer), go()));
      });
    }
  }
};
