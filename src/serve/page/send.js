// A recording on its way to the server and the answer on its way back.

/// What the server, or the way to it, has against a recording. `code` is a stable word.
export class Problem extends Error {
  constructor(code, detail = "") {
    super(detail || code);
    Object.assign(this, { code, detail });
  }
}

const MOST_TRIES = 20;

/// What a server that wants a token is sent.
export const headers = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

const once = (recording, address, token, said, signal) =>
  new Promise((answers, fails) => {
    // Not `fetch`: that tells nothing of how much has been sent.
    const request = new XMLHttpRequest();
    request.open("POST", address);
    for (const [name, value] of Object.entries(headers(token))) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", ({ loaded, total }) => total && loaded < total && said("sending", loaded / total));
    request.upload.addEventListener("load", () => said("listening"));
    request.addEventListener("error", () => fails(new Problem("offline")));
    request.addEventListener("abort", () => fails(new Problem("cancelled")));
    request.addEventListener("load", () => {
      let body = null;
      try {
        body = JSON.parse(request.responseText);
      } catch {
        // A proxy may have answered.
      }
      const { status } = request;
      if (status === 200 && Array.isArray(body?.instruments)) answers(body);
      else if (status === 503) fails(Object.assign(new Problem("full", body?.detail), { after: Number(request.getResponseHeader("Retry-After")) || 2 }));
      else fails(new Problem(body?.code ?? "strange", body?.detail));
    });
    signal.addEventListener("abort", () => request.abort());
    const form = new FormData();
    form.append("file", recording.blob, recording.name);
    request.send(form);
  });

/// The answer of the server. `said` hears how far it is: `sending` with a share, `listening`, `busy` with seconds. A full server
/// is asked again when it says so.
export const hear = async (recording, { model, token }, said, signal) => {
  const address = `/api/v1/predict${model ? `?model=${encodeURIComponent(model)}` : ""}`;
  for (let tries = 1; ; tries++) {
    if (signal.aborted) throw new Problem("cancelled");
    said("listening");
    try {
      return await once(recording, address, token, said, signal);
    } catch (problem) {
      if (!(problem.after && tries < MOST_TRIES)) throw problem;
      said("busy", problem.after);
      await new Promise((go) => {
        const timer = setTimeout(go, 1000 * problem.after);
        signal.addEventListener("abort", () => (clearTimeout(timer), go()));
      });
    }
  }
};
