"""Every option with its default and its meaning; the defaults are CLIP-ReID's."""

from __future__ import annotations

from yacs.config import CfgNode

_C = CfgNode()

# ---------------------------------------------------------------------------------------- model
_C.MODEL = CfgNode()
_C.MODEL.NAME = "RN50"  # ViT-B-16, RN50, another CLIP of open_clip, or a JSON model config; without
# texts also timm/<name> and torchvision's resnet18 ... resnet152, resnet50_ibn_a, resnet101_ibn_a
_C.MODEL.PRETRAIN_CHOICE = "clip"  # clip = the encoder's published weights | none = random weights
_C.MODEL.PRETRAIN_TAG = ""  # which published weights, e.g. laion2b_s34b_b88k; empty = OpenAI's
_C.MODEL.PRETRAIN_PATH = ""  # local file of these weights; empty = from the cache or a download
_C.MODEL.DEVICE = "auto"  # auto = the best available | cpu | cuda | mps
_C.MODEL.DEVICE_ID = "0"  # index of the CUDA device
_C.MODEL.COMPILE = False  # True = torch.compile the image encoder: slow to start, then faster
_C.MODEL.GRAD_CHECKPOINTING = False  # True = less memory, a third more time per step (not for BN)

# architecture
_C.MODEL.STRIDE_SIZE = [16, 16]  # rows, columns between a ViT's patches; below 16 they overlap
_C.MODEL.LAST_STRIDE = 1  # stride of a ResNet's last stage: 1 | 2
_C.MODEL.NECK = "bnneck"  # bnneck = batch norm before the classifiers | no = none
_C.MODEL.TEXT_TOWER = True  # False = baseline: no prompts, no text encoder, no i2t loss
_C.MODEL.PROMPT = ""  # a noun (cow) or "A photo of a {context} cow."; empty = by data set
_C.MODEL.SIE_CAMERA = False  # learn an embedding per training camera (side information, ViT only)
_C.MODEL.SIE_VIEW = False  # learn an embedding per viewpoint; with SIE_CAMERA: per pair
_C.MODEL.SIE_COE = 3.0  # factor on the side-information embedding

# losses of the image stage
_C.MODEL.ID_LOSS_TYPE = "softmax"  # softmax is the only identity loss
_C.MODEL.ID_LOSS_WEIGHT = 1.0  # weight of the identity loss, summed over classifiers; 0 = off
_C.MODEL.IF_LABELSMOOTH = True  # label smoothing of 0.1 in the id and i2t losses
_C.MODEL.METRIC_LOSS_TYPE = "triplet"  # triplet | center | triplet_center | none
_C.MODEL.TRIPLET_LOSS_WEIGHT = 1.0  # weight of the triplet loss, summed over TRIPLET_FEATURES
_C.MODEL.TRIPLET_FEATURES = ("last", "final", "projected")  # features with a triplet loss
_C.MODEL.NO_MARGIN = False  # True = soft margin, softplus(d_ap - d_an), not SOLVER.MARGIN
_C.MODEL.IF_WITH_CENTER = False  # True adds the center loss to any METRIC_LOSS_TYPE
_C.MODEL.I2T_LOSS_WEIGHT = 1.0  # weight of the image-to-text cross-entropy
_C.MODEL.EXTRA_LOSSES = ()  # more losses: names and weights in turn, e.g. ("supcon", 0.5)

# --------------------------------------------------------------------------------------- images
_C.INPUT = CfgNode()
_C.INPUT.SIZE_TRAIN = [384, 128]  # height, width in pixels of a training image
_C.INPUT.SIZE_TEST = [384, 128]  # height, width in evaluation; must equal SIZE_TRAIN
_C.INPUT.TEST_INTERPOLATION = "bilinear"  # how evaluation images are resized: bilinear | bicubic
_C.INPUT.NORMALIZATION = "fixed"  # fixed = by PIXEL_MEAN, PIXEL_STD | instance = by each image's
_C.INPUT.CHANNELS = "rgb"  # order of the channels that the model sees: rgb | bgr
_C.INPUT.PIXEL_MEAN = [0.485, 0.456, 0.406]  # mean of the channels in this order, from 0 to 1
_C.INPUT.PIXEL_STD = [0.229, 0.224, 0.225]  # their standard deviation

# augmentation
_C.INPUT.PROB = 0.5  # probability of a horizontal flip
_C.INPUT.PADDING = 10  # black pixels added on every side before the random crop
_C.INPUT.RE_PROB = 0.5  # probability of random erasing
_C.INPUT.RE_AREA = [0.02, 1 / 3]  # smallest and largest erased share of the image
_C.INPUT.RE_FILL = "noise"  # of the erased area, after normalization: noise = N(0, 1) | mean =
# the values of PIXEL_MEAN, as published in DSGL
_C.INPUT.GRAYSCALE_PROB = 0.0  # probability of a grayscale image
_C.INPUT.JITTER_PROB = 0.0  # probability of colour jitter
_C.INPUT.JITTER = [0.15, 0.1, 0.05, 0.05]  # its brightness, contrast, saturation, hue
_C.INPUT.AUGMIX_PROB = 0.0  # probability of AugMix
_C.INPUT.AUGMIX_SEVERITY = 3  # severity of its operations, 1..10
_C.INPUT.AUGMIX_DEPTH = 0  # operations in each of its three chains; 0 = one to three at random
_C.INPUT.AUGMIX_ALPHA = 1.0  # parameter of the Dirichlet and Beta distributions that mix the chains
_C.INPUT.AUGMIX_COLOURS = True  # False = only the nine operations without colours

# reading
_C.INPUT.CACHE = "auto"  # where resized training images stay: none = in files, read every epoch |
# ram | device = memory of MODEL.DEVICE, which then augments | auto = what fits and pays off
_C.INPUT.ON_BAD_IMAGE = "error"  # error = stop and name the file | skip = leave out, count and log

# ------------------------------------------------------------------------------------- data sets
_C.DATASETS = CfgNode()
_C.DATASETS.NAMES = ("market1501",)  # training data: names, folders or CSV files, e.g. viper,prid
_C.DATASETS.TARGETS = ()  # data sets to evaluate on; empty = the test splits of NAMES
_C.DATASETS.USE_ALL = False  # True = also train on query and gallery images of NAMES
_C.DATASETS.PROTOCOL = ""  # published protocol of this file: named in results, used by --compare
_C.DATASETS.ROOT_DIR = "../data"  # folder that holds the data sets; REID_DATA sets it as well

# --------------------------------------------------------------------------------------- batches
_C.DATALOADER = CfgNode()
_C.DATALOADER.NUM_WORKERS = 8  # processes that decode images; 0 = the main process
_C.DATALOADER.SAMPLER = "softmax"  # softmax = shuffled, no triplet loss | softmax_triplet = P x K |
# dfgs_text | dfgs_image = walks over similar identities | gs_text | gs_image = nearest identities
_C.DATALOADER.NUM_INSTANCE = 16  # K, images per identity in a batch; P = IMS_PER_BATCH / K

_C.DATALOADER.DFGS = CfgNode()  # graph of similar identities, for dfgs_* and gs_*
_C.DATALOADER.DFGS.FEATURES = ""  # graph features: text | image | both; empty = by SAMPLER's name
_C.DATALOADER.DFGS.NUM_NEIGHBOURS = 10  # k, neighbours per identity
_C.DATALOADER.DFGS.SKIP = 0  # m, nearest identities left out of the graph
_C.DATALOADER.DFGS.WALK = "depth_first"  # depth_first = as in the paper | balanced = hard batches
# to the epoch's end | greedy = hardest first
_C.DATALOADER.DFGS.SHUFFLE = True  # depth_first: neighbours in random order, not nearest first
_C.DATALOADER.DFGS.MUTUAL = False  # True = link only identities that are each other's neighbours
_C.DATALOADER.DFGS.MAX_VISITS = 0  # maximum batches per epoch with one identity; 0 = all its images
_C.DATALOADER.DFGS.ROTATE_DOMAINS = False  # True = restarts take the data sets in turn
_C.DATALOADER.DFGS.NORMALIZE = False  # True = compare L2-normalized features
_C.DATALOADER.DFGS.REFRESH_PERIOD = 1  # rebuild the graph from image features every N epochs
_C.DATALOADER.DFGS.IMAGES_PER_ID = 1  # images averaged to represent an identity

# -------------------------------------------------------------------------------------- training
_C.SOLVER = CfgNode()
_C.SOLVER.SEED = 1234  # seeds weights, sampling and augmentation
_C.SOLVER.DETERMINISTIC = False  # True = deterministic, slower GPU kernels; a CPU always is
_C.SOLVER.MARGIN = 0.3  # margin of the triplet loss
_C.SOLVER.EMA = 0.0  # averaged weights of stage 2 or DSGL, evaluated beside the others: decay per
# step, e.g. 0.99; 0 = none
_C.SOLVER.AMP = "auto"  # auto | off | fp16 | bf16; losses and distances are always float32
_C.SOLVER.RESUME_CHANGED_DATA = False  # True = resume although training images have changed
_C.SOLVER.RESUME = ""  # auto = resume OUTPUT_DIR/last.pth if it exists | path | empty = start

_C.SOLVER.STAGE0 = CfgNode()  # optional prior stage: image encoder on P x K batches, without text
_C.SOLVER.STAGE0.MAX_EPOCHS = 0  # 0 = skip the stage; everything else is as in STAGE2
_C.SOLVER.STAGE0.SHARE_OPTIMIZER = False  # True = stage 2 goes on with its optimizer and schedule

_C.SOLVER.STAGE1 = CfgNode()  # prompt stage
_C.SOLVER.STAGE1.WEIGHT = ""  # checkpoint with learned prompts; skips the stage
_C.SOLVER.STAGE1.IMS_PER_BATCH = 64  # cached image features per batch
_C.SOLVER.STAGE1.OPTIMIZER_NAME = "Adam"  # Adam | AdamW | SGD
_C.SOLVER.STAGE1.MAX_EPOCHS = 100  # number of epochs
_C.SOLVER.STAGE1.BASE_LR = 3e-4  # learning rate after the warm-up
_C.SOLVER.STAGE1.MOMENTUM = 0.9  # momentum of SGD
_C.SOLVER.STAGE1.WEIGHT_DECAY = 5e-4  # L2 (Adam, SGD) or decoupled (AdamW)
_C.SOLVER.STAGE1.WARMUP_EPOCHS = 5  # epochs of linear warm-up
_C.SOLVER.STAGE1.WARMUP_LR_INIT = 0.01  # learning rate at the start of the warm-up
_C.SOLVER.STAGE1.LR_MIN = 1.6e-5  # learning rate at the end of the cosine schedule
_C.SOLVER.STAGE1.CHECKPOINT_PERIOD = 10  # epochs between kept checkpoints
_C.SOLVER.STAGE1.LOG_PERIOD = 100  # iterations between log lines

_C.SOLVER.STAGE2 = CfgNode()  # image stage; the only stage of a baseline and of DSGL
_C.SOLVER.STAGE2.IMS_PER_BATCH = 64  # images per batch, P x K
_C.SOLVER.STAGE2.OPTIMIZER_NAME = "Adam"  # Adam | AdamW | SGD
_C.SOLVER.STAGE2.MAX_EPOCHS = 100  # number of epochs
_C.SOLVER.STAGE2.BASE_LR = 3e-4  # learning rate after the warm-up
_C.SOLVER.STAGE2.LARGE_FC_LR = False  # True = twice the learning rate for the classifiers
_C.SOLVER.STAGE2.BIAS_LR_FACTOR = 1.0  # factor on the learning rate of biases
_C.SOLVER.STAGE2.MOMENTUM = 0.9  # momentum of SGD
_C.SOLVER.STAGE2.WEIGHT_DECAY = 5e-4  # weight decay of everything but biases
_C.SOLVER.STAGE2.WEIGHT_DECAY_BIAS = 5e-4  # weight decay of biases
_C.SOLVER.STAGE2.CENTER_LR = 0.5  # learning rate of the losses' own parameters (SGD)
_C.SOLVER.STAGE2.CENTER_LOSS_WEIGHT = 5e-4  # weight of the center loss when it is on
_C.SOLVER.STAGE2.STEPS = (40, 70)  # epochs at which the learning rate drops
_C.SOLVER.STAGE2.GAMMA = 0.1  # factor on the learning rate at each of STEPS
_C.SOLVER.STAGE2.WARMUP_FACTOR = 0.01  # share of BASE_LR at the start of the warm-up
_C.SOLVER.STAGE2.WARMUP_ITERS = 500  # length of the warm-up, in epochs despite its name
_C.SOLVER.STAGE2.WARMUP_METHOD = "linear"  # linear | constant
_C.SOLVER.STAGE2.CHECKPOINT_PERIOD = 10  # epochs between kept checkpoints; the last is always kept
_C.SOLVER.STAGE2.LOG_PERIOD = 100  # iterations between log lines
_C.SOLVER.STAGE2.EVAL_PERIOD = 10  # epochs between evaluations; the last is always evaluated

# ------------------------------------------------------------------ training without labels (DSGL)
_C.DSGL = CfgNode()  # optimizer, schedule and periods are those of SOLVER.STAGE2
_C.DSGL.ENABLED = False  # True = one stage without identity labels; train_dsgl.py sets it
_C.DSGL.POOLING = "gem"  # gem | avg | max | avg+max of the last map | clip = final and projected
_C.DSGL.EMBED_DIM = 0  # width of a linear layer after the pooling; 0 = none
_C.DSGL.DROPOUT = 0.0  # dropout on the unit feature in training
_C.DSGL.FREEZE_PATCH_CONV = False  # True = freeze a ViT's patch convolution
_C.DSGL.ITERS = 400  # batches per epoch; 0 = one pass over the clusters
_C.DSGL.STEP_SIZE = 20  # epochs between steps of the learning rate; 0 = at SOLVER.STAGE2.STEPS
_C.DSGL.CAMERA_AWARE = True  # pair images of a cluster across cameras where possible

# clustering
_C.DSGL.RECLUSTER_EVERY = 1  # epochs between clusterings
_C.DSGL.EPS = 0.6  # DBSCAN: largest Jaccard distance between neighbours, 0..1
_C.DSGL.MIN_SAMPLES = 4  # DBSCAN: neighbours, itself included, that make a core point
_C.DSGL.K1 = 30  # images in a k-reciprocal neighbourhood, the image itself included
_C.DSGL.K2 = 6  # nearest images whose neighbourhoods are averaged

# memory and losses
_C.DSGL.MEMORY = "DLhybrid"  # CM | CMhard | DLhybrid | DLhybrid_v2
_C.DSGL.MEM_LOSS = "hard"  # prototypes of the memory loss: hard (Market) | mean (MSMT17) | both
_C.DSGL.HARD_WEIGHT = 0.5  # weight of the hard prototypes when MEM_LOSS is both
_C.DSGL.MOMENTUM = 0.1  # share of the old prototype in a memory update
_C.DSGL.TEMPERATURE = 0.05  # temperature of every softmax
_C.DSGL.LABEL_SMOOTHING = False  # True = label smoothing of 0.1 in the memory loss
_C.DSGL.ORDERS = 2  # irrelevant labels per image: the other clusters it resembles most
_C.DSGL.W_DIS = 1.0  # weight of the disentangled loss (DLhybrid)
_C.DSGL.W_KL = 1.0  # weight of the relative entropy (DLhybrid); 0 = one image per anchor
_C.DSGL.TAU_DIS = 0.5  # weight of the disentangled prototypes in their loss; unused if W_DIS is 0
_C.DSGL.TAU_KL_POS = 0.8  # weight of the positive prototype in the guided prototypes
_C.DSGL.TAU_KL_NEG = 0.1  # weight of the negative prototypes in the guided prototypes
_C.DSGL.KL_DETACH = False  # True = no gradient through the guided prediction
_C.DSGL.FAITHFUL = False  # True = the published formulas, which depend on the order in a batch

# ------------------------------------------------------------------------------------ evaluation
_C.TEST = CfgNode()
_C.TEST.WEIGHT = ""  # checkpoint to evaluate, or an ONNX or OpenVINO file of any program
_C.TEST.OUTPUT = ""  # which output of an ONNX or OpenVINO file; empty = the only one
_C.TEST.EMA = False  # True = a checkpoint's averaged weights (SOLVER.EMA)
_C.TEST.IMS_PER_BATCH = 128  # images per batch
_C.TEST.AMP = "off"  # number format of evaluation features: off = float32 | auto | fp16 | bf16
_C.TEST.NECK_FEAT = "after"  # retrieval features before | after the BNNecks
_C.TEST.FEAT_NORM = True  # compare L2-normalized features
_C.TEST.IGNORE_SAME_CAMERA = True  # drop gallery images of the query's identity and camera
_C.TEST.MULTI_QUERY = False  # True = average the queries of each identity and camera
_C.TEST.BEFORE_TRAINING = False  # True = training also evaluates the model it starts from
_C.TEST.CHUNK_MB = 512  # memory limit for a block of the distance matrix, in MB
_C.TEST.RE_RANKING = False  # True = k-reciprocal re-ranking
_C.TEST.RE_RANKING_K1 = 50  # size of the reciprocal neighbour sets
_C.TEST.RE_RANKING_K2 = 15  # neighbours in the local query expansion
_C.TEST.RE_RANKING_LAMBDA = 0.3  # share of the original distance in the re-ranked one

# -------------------------------------------------------------------------------------- plug-ins
_C.PLUGINS = ()  # Python files or modules that register losses, encoders, data sets, samplers
_C.USER = CfgNode()  # options of plug-ins: any name, any YAML value

# ---------------------------------------------------------------------------------------- output
_C.OUTPUT_DIR = ""  # run folder; empty = runs/<folder and name of the config file>


def default_cfg() -> CfgNode:
    """A fresh copy of the tree of defaults."""
    return _C.clone()
