"use strict";

const CAMERA_SIDE = 640;
const $ = (id) => document.getElementById(id);
const picture = $("picture");
let model = { points: [], edges: [], coverage: null };
let shown = null; // the picture that is drawn, and its faces
let stream = null;
let request = 0;

function say(text) {
  $("status").textContent = text;
}

async function predict(photo) {
  const answer = await fetch("/predict", {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream" },
    body: photo,
  });
  const result = await answer.json().catch(() => ({ error: answer.statusText }));
  if (!answer.ok) throw new Error(result.error);
  return result;
}

// The browser turns a photograph as its EXIF orientation says, as the server does.
async function open(photo) {
  const number = ++request;
  say("Looking for faces …");
  try {
    const [image, result] = await Promise.all([createImageBitmap(photo).catch(() => null), predict(photo)]);
    if (number !== request) return;
    show(image, result);
    const count = result.faces.length;
    say(count ? `${count} ${count === 1 ? "face" : "faces"} in ${result.time_ms} ms.` : "No face was found.");
  } catch (error) {
    if (number === request) say(`This photograph cannot be used: ${error.message}`);
  }
}

function show(image, result) {
  shown = { image, result };
  picture.width = result.width;
  picture.height = result.height;
  for (const id of ["picture", "options", "details"]) $(id).hidden = false;
  draw();
  list(result.faces);
}

function draw() {
  const pen = picture.getContext("2d");
  const { image, result } = shown;
  pen.clearRect(0, 0, picture.width, picture.height);
  if (image) pen.drawImage(image, 0, 0, picture.width, picture.height);
  for (const face of result.faces) {
    const side = face.box[2];
    pen.lineWidth = Math.max(side / 200, 1);
    pen.strokeStyle = "rgba(255, 255, 255, 0.6)";
    pen.strokeRect(...face.box);
    pen.strokeStyle = "rgba(0, 220, 200, 0.8)";
    for (const edge of model.edges) {
      pen.beginPath();
      for (const k of edge) pen.lineTo(...face.points[k]);
      pen.stroke();
    }
    face.points.forEach(([x, y], k) => {
      if (face.radius && $("circles").checked) {
        pen.strokeStyle = "rgba(255, 120, 0, 0.9)";
        pen.beginPath();
        pen.arc(x, y, face.radius[k], 0, 2 * Math.PI);
        pen.stroke();
      }
      pen.fillStyle = "rgb(255, 210, 0)";
      pen.beginPath();
      pen.arc(x, y, Math.max(side / (model.points.length < 20 ? 70 : 130), 1.2), 0, 2 * Math.PI);
      pen.fill();
    });
  }
}

function list(faces) {
  const rows = faces.flatMap((face, number) =>
    face.points.map(([x, y], k) => {
      const row = document.createElement("tr");
      const cells = [
        number + 1, model.points[k].replaceAll("_", " "), x.toFixed(1), y.toFixed(1), face.confidence[k].toFixed(2),
        face.radius ? face.radius[k].toFixed(1) : "–",
      ];
      for (const text of cells) row.insertCell().textContent = text;
      return row;
    }),
  );
  $("points").replaceChildren(...rows);
}

async function startCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: CAMERA_SIDE } });
  } catch (error) {
    say(`The camera cannot be used: ${error.message}`);
    return;
  }
  $("camera").textContent = "Stop the camera";
  const video = document.createElement("video");
  video.srcObject = stream;
  video.muted = true;
  await video.play();
  const frame = document.createElement("canvas");
  const own = stream;
  while (stream === own) {
    const scale = Math.min(1, CAMERA_SIDE / Math.max(video.videoWidth, video.videoHeight, 1));
    frame.width = video.videoWidth * scale;
    frame.height = video.videoHeight * scale;
    frame.getContext("2d").drawImage(video, 0, 0, frame.width, frame.height);
    const photo = await new Promise((done) => frame.toBlob(done, "image/jpeg", 0.85));
    try {
      const result = await predict(photo);
      if (stream !== own) break;
      show(frame, result);
      say(`Camera: ${result.faces.length} ${result.faces.length === 1 ? "face" : "faces"}, ${result.time_ms} ms a frame.`);
    } catch (error) {
      say(`The camera's picture cannot be used: ${error.message}`);
      stopCamera();
    }
  }
}

function stopCamera() {
  for (const track of stream ? stream.getTracks() : []) track.stop();
  stream = null;
  $("camera").textContent = "Use the camera";
}

function take(files) {
  const photo = [...files].find((file) => file.type.startsWith("image/")) || files[0];
  if (!photo) return;
  stopCamera();
  open(photo);
}

$("file").addEventListener("change", (event) => take(event.target.files));
$("camera").addEventListener("click", () => (stream ? stopCamera() : startCamera()));
$("circles").addEventListener("change", () => shown && draw());
$("save").addEventListener("click", (event) => {
  event.preventDefault();
  const link = document.createElement("a");
  link.download = "points.png";
  link.href = picture.toDataURL("image/png");
  link.click();
});
document.addEventListener("paste", (event) => take(event.clipboardData.files));
for (const name of ["dragenter", "dragover"])
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
for (const name of ["dragleave", "drop"])
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
  });
document.addEventListener("drop", (event) => take(event.dataTransfer.files));

fetch("/model")
  .then((answer) => answer.json())
  .then((document_) => {
    model = document_;
    $("model").textContent = `${model.name}, ${model.points.length} points`;
    const coverage = $("circles").parentElement;
    coverage.hidden = model.coverage === null;
  });
