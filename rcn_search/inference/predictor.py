"""A trained network as a function from images to keypoints.

Shape letters: n faces, b faces of a batch, k points.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rcn_search.data.augment import face_box_windows, network_inputs, unwarp_points
from rcn_search.data.crops import centered_face_box, crop_to_image
from rcn_search.errors import RcnSearchError
from rcn_search.inference.config import DEFAULT_INFERENCE, InferenceConfig
from rcn_search.inference.images import Boxes, ImageLike, count_faces, crop_faces
from rcn_search.inference.latency import latency_ms
from rcn_search.inference.test_time_augmentation import NUM_VIEWS, average_views, view_windows
from rcn_search.keypoints import KeypointSchema, keypoint_schema
from rcn_search.models.blocks import Network
from rcn_search.models.complexity import count_parameters, multiply_adds
from rcn_search.models.composite import FlipAverage, JointModel
from rcn_search.models.decode import default_decoder, predicted_cells, predicted_points
from rcn_search.models.denoiser import Denoiser
from rcn_search.models.tcdcn import TCDCN
from rcn_search.training.checkpoint import CheckpointInfo, load_network
from rcn_search.training.compute_probe import resolve_device
from rcn_search.training.validation import BATCH_SIZE


class Faces(NamedTuple):
    """Predicted keypoints of n faces.

    Attributes:
        points: (n, k, 2) float32 x, y in pixels of the image; pixel i covers [i, i + 1).
        confidence: (n, k) float32, the probability within the 5x5 cells around each point; 1 of networks that predict
            coordinates.
        boxes: (n, 4) float32 x, y, width, height of the crop of each face in its image.
    """

    points: NDArray[np.float32]
    confidence: NDArray[np.float32]
    boxes: NDArray[np.float32]


class CropPoints(NamedTuple):
    """Predicted keypoints of a batch of crops, on the device.

    Attributes:
        points_bk2: x, y in crop pixels.
        cells_bk2: Column and row of the predicted cell of the network's grid, int64.
    """

    points_bk2: Tensor
    cells_bk2: Tensor
    confidence_bk: Tensor


class Predictor:
    """A trained network on its device, with decoder and test-time augmentation. `load` opens one.

    Prediction changes nothing, so several threads may share a predictor.

    Attributes:
        info: Header of the checkpoint: configuration, keypoints, epoch.
        inference: Options of inference; decoder and device are resolved.
        network: The network, with denoiser and flip averaging where asked for.
        record: How predictions are made, as prediction files say it.
    """

    def __init__(
        self,
        network: Network,
        info: CheckpointInfo,
        inference: InferenceConfig = DEFAULT_INFERENCE,
        *,
        denoiser_run_id: str | None = None,
    ) -> None:
        """Put a network to use: that of the checkpoint, or the joint model made of it.

        ``inference.denoiser_uri`` is read by `load` alone; ``denoiser_run_id`` is the run of a joint model's denoiser.
        """
        decoder = inference.decoder or default_decoder(info.config.loss.name)
        device = str(resolve_device(inference.device))
        self.info = info
        self.inference = inference.model_copy(update={"decoder": decoder, "device": device})
        self.record = self.inference.record() | ({"denoiser": denoiser_run_id} if denoiser_run_id else {})
        if inference.flip:
            network = FlipAverage(network, self.schema.flip)
        self.network = network.to_device(device, torch.channels_last).eval()
        self._num_views = NUM_VIEWS if inference.multiview else 1

    @property
    def schema(self) -> KeypointSchema:
        """Keypoints that are predicted."""
        return keypoint_schema(self.info.keypoints)

    @property
    def num_params(self) -> int:
        """Number of trained parameters."""
        return count_parameters(self.network)

    @cached_property
    def multiply_adds(self) -> int:
        """Multiply-adds for one face, all its views included."""
        return multiply_adds(self.network, self.info.config.input.size_px) * self._num_views

    def latency_ms(self) -> float:
        """Measure the median time of one face in the network, all its views included."""
        options, device = self.info.config.input, self.inference.device
        return latency_ms(self.network, options, device, torch.channels_last) * self._num_views

    def predict(
        self, images: ImageLike | Sequence[ImageLike], boxes: Boxes | None = None, *, face_boxes: Boxes | None = None
    ) -> Faces:
        """Predict the keypoints of faces in images.

        Faces are cropped by the code that imports data sets: ``box`` and ``face_box`` of an imported face, given with
        its photograph, lead to the points that `rcn_search.evaluate` finds.

        Args:
            images: One image with any number of faces, or a list of images with one face each. An image is a path, a
                Pillow image, or an array (h, w) or (h, w, 3) uint8.
            boxes: (n, 4) x, y, width, height of the crop around each face, in image pixels: eyes and mouth in the
                middle, with a margin of the distance between them. A box may leave the image, is rounded to whole
                pixels and widened to a square. None: each image is the crop of one face.
            face_boxes: (n, 4) x, y, width, height of the part of each crop that the network sees, in pixels of the crop
                of 160x160. None: centered, and as large as is usual in training.

        Raises:
            RcnSearchError: An image cannot be used, or the boxes do not fit the images.

        >>> import rcn_search
        >>> predictor = rcn_search.load(checkpoint)
        >>> faces = predictor.predict(photo, boxes=[[40, 30, 120, 120], [200, 35, 110, 110]])
        >>> faces.points.shape, faces.confidence.shape
        ((2, 5, 2), (2, 5))
        """
        num_faces = count_faces(images, boxes)
        if face_boxes is None:
            face_boxes = np.tile(centered_face_box(self.info.keypoints), (num_faces, 1))
        if np.shape(face_boxes) != (num_faces, 4):
            raise RcnSearchError(
                f"face_boxes have shape {np.shape(face_boxes)}; {num_faces} faces need an (n, 4) array"
            )
        face_box_n4 = torch.tensor(np.asarray(face_boxes, np.float32), device=self.inference.device)
        crops = crop_faces(images, boxes, color=self.info.config.input.color)
        box_n4 = np.zeros((num_faces, 4), np.float32)
        points_nk2 = np.zeros((num_faces, self.schema.num_points, 2), np.float32)
        confidence_nk = np.zeros((num_faces, self.schema.num_points), np.float32)
        for start in range(0, num_faces, BATCH_SIZE):
            image_b, box_b = zip(*islice(crops, BATCH_SIZE), strict=True)
            rows = slice(start, start + len(box_b))
            crop_b = torch.from_numpy(np.stack(image_b)).to(self.inference.device)
            predicted = self.predict_crops(crop_b, face_box_n4[rows])
            box_n4[rows] = box_b
            points_nk2[rows] = predicted.points_bk2.cpu().numpy()
            confidence_nk[rows] = predicted.confidence_bk.cpu().numpy()
        return Faces(crop_to_image(points_nk2, box_n4), confidence_nk, box_n4)

    @torch.inference_mode()
    def predict_crops(self, crop_b: Tensor, face_box_b4: Tensor) -> CropPoints:
        """Predict the keypoints of a batch of crops.

        Args:
            crop_b: (b, 160, 160) or (b, 160, 160, 3) uint8, on the device.
            face_box_b4: Part of each crop that the network sees, in crop pixels.
        """
        options, decoder = self.info.config.input, self.inference.decoder
        assert decoder is not None
        window = face_box_windows(face_box_b4)
        windows = view_windows(window) if self.inference.multiview else [window]
        outputs = [
            self.network(network_inputs(crop_b, view, options).contiguous(memory_format=torch.channels_last))
            for view in windows
        ]
        output = average_views(outputs, windows)
        cells_bk2 = predicted_cells(output, options.size_px, decoder)
        points_bk2, confidence_bk = predicted_points(output, cells_bk2, decoder)
        return CropPoints(unwarp_points(points_bk2, window), cells_bk2, confidence_bk)


def load(checkpoint_uri: str, inference: InferenceConfig = DEFAULT_INFERENCE) -> Predictor:
    """Open a trained network for prediction, from the path or URI of a ``best.safetensors`` or ``last.safetensors``.

    Raises:
        CheckpointError: The checkpoint is missing, damaged or of another model.
        RcnSearchError: It is a denoiser, or does not fit the denoiser of ``inference``; or the device cannot be used.

    >>> import rcn_search
    >>> predictor = rcn_search.load(checkpoint)
    >>> predictor.schema.names
    ('left_eye', 'right_eye', 'nose', 'left_mouth', 'right_mouth')
    """
    network, info = load_network(checkpoint_uri)
    if isinstance(network, Denoiser):
        raise RcnSearchError(
            f"{checkpoint_uri} is a denoiser, which takes no image: name it with --denoiser, beside a network"
        )
    if not (uri := inference.denoiser_uri):
        return Predictor(network, info, inference)
    if isinstance(network, TCDCN):
        raise RcnSearchError(f"{checkpoint_uri} predicts coordinates; only maps can be added to those of a denoiser")
    denoiser, denoiser_info = load_network(uri)
    if not isinstance(denoiser, Denoiser):
        raise RcnSearchError(f"{uri} is not a denoiser but a network of type {denoiser_info.config.model.name}")
    if denoiser_info.keypoints != info.keypoints:
        raise RcnSearchError(
            f"{uri} is a denoiser of {denoiser_info.keypoints!r} points; the network predicts {info.keypoints!r}"
        )
    return Predictor(JointModel(network, denoiser), info, inference, denoiser_run_id=denoiser_info.config.run_id)
