// Recordings from the microphone, kept in the browser (IndexedDB) so that they survive a reload.

/// More recordings replace the oldest.
const MOST = 20;

const database = () =>
  new Promise((resolve, reject) => {
    const request = indexedDB.open("timbre", 1);
    request.addEventListener("upgradeneeded", () => request.result.createObjectStore("recordings", { keyPath: "id", autoIncrement: true }));
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error));
  });

/// Runs `use(store)` in a transaction and returns the result of its request; null if the browser has no storage (private windows).
const withStore = async (mode, use) => {
  try {
    const opened = await database();
    return await new Promise((resolve, reject) => {
      const transaction = opened.transaction("recordings", mode);
      const request = use(transaction.objectStore("recordings"));
      transaction.addEventListener("complete", () => resolve(request.result));
      transaction.addEventListener("abort", () => reject(transaction.error));
    }).finally(() => opened.close());
  } catch {
    return null;
  }
};

/// Keeps a recording: `name`, `blob`, and later the `answer` with the `classes` of its model. Returns its id.
export const keep = async (recording) => {
  const id = await withStore("readwrite", (store) => store.put(recording));
  const ids = (await withStore("readonly", (store) => store.getAllKeys())) ?? [];
  for (const old of ids.slice(0, -MOST)) await forget(old);
  return id;
};

export const forget = (id) => withStore("readwrite", (store) => store.delete(id));

/// All recordings, the oldest first.
export const kept = async () => (await withStore("readonly", (store) => store.getAll())) ?? [];
