// Uploads a file by tus-js-client. Arguments: endpoint, token, file, and how: whole, cut, parallel or stream. Prints the URL.
import { createReadStream, readFileSync } from "node:fs";
import { PassThrough } from "node:stream";
import { Upload } from "tus-js-client";

const [endpoint, token, path, how] = process.argv.slice(2);
const options = {
  endpoint,
  headers: { Authorization: `Bearer ${token}` },
  metadata: { filename: "in.dat" },
  retryDelays: [0, 100, 200],
  chunkSize: 256 * 1024,
};

const send = (input, more) =>
  new Promise((resolve, reject) => {
    const upload = new Upload(input, { ...options, ...more(resolve, () => upload), onError: reject });
    upload.start();
  });

const toTheEnd = (resolve, upload) => ({ onSuccess: () => resolve(upload().url) });

let url;
if (how === "cut") {
  // Leaves in the middle of the file, as a closed browser does, and comes back with nothing but the URL.
  const left = await send(readFileSync(path), (resolve, upload) => ({
    onChunkComplete: (size, sent, total) => {
      if (sent > total / 2) upload().abort().then(() => resolve(upload().url));
    },
  }));
  url = await send(readFileSync(path), (resolve, upload) => ({ ...toTheEnd(resolve, upload), uploadUrl: left }));
} else if (how === "parallel") {
  url = await send(readFileSync(path), (resolve, upload) => ({ ...toTheEnd(resolve, upload), parallelUploads: 3 }));
} else if (how === "stream") {
  const stream = createReadStream(path).pipe(new PassThrough());
  url = await send(stream, (resolve, upload) => ({ ...toTheEnd(resolve, upload), uploadLengthDeferred: true }));
} else {
  url = await send(createReadStream(path), (resolve, upload) => toTheEnd(resolve, upload));
}
console.log(url);
